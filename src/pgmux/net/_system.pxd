# System calls that Cython's own declarations lack, for `_transport_cy.py`.

cdef extern from *:
    """
    #include <sys/socket.h>
    #ifdef __linux__
    #include <sys/epoll.h>
    #else  /* compiled there, too, and never called: Python has no select.epoll then */
    struct pgmux_epoll_event { unsigned int events; struct { int fd; } data; };
    #define epoll_event pgmux_epoll_event
    #define epoll_wait(fd, events, most, timeout) (-1)
    #endif
    """
    ctypedef union epoll_data_t:
        int fd

    ctypedef struct epoll_event "struct epoll_event":
        unsigned int events
        epoll_data_t data

    int epoll_wait(int fd, epoll_event *events, int most, int timeout) nogil
    ssize_t recv(int fd, void *buffer, size_t size, int flags) nogil
    ssize_t send(int fd, const void *buffer, size_t size, int flags) nogil
