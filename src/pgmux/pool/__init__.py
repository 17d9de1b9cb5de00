"""Who gets which server: lists, limits, and what is due. No sockets, no clock."""
