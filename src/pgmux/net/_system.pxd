# System calls that Cython's own declarations lack, for `_transport_cy.py`.

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE  /* accept4 */
    #endif
    #include <sys/socket.h>
    #ifdef __linux__
    #include <sys/epoll.h>
    #define pgmux_accept4(fd, address, size) \\
        accept4(fd, (struct sockaddr *)(address), size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    #else  /* compiled there, too, and never called: Python has no select.epoll then */
    struct pgmux_epoll_event { unsigned int events; struct { int fd; } data; };
    #define epoll_event pgmux_epoll_event
    #define epoll_wait(fd, events, most, timeout) (-1)
    #define pgmux_accept4(fd, address, size) (-1)
    #endif
    """
    ctypedef union epoll_data_t:
        int fd

    ctypedef struct epoll_event "struct epoll_event":
        unsigned int events
        epoll_data_t data

    int epoll_wait(int fd, epoll_event *events, int most, int timeout) nogil
    int accept4 "pgmux_accept4" (int fd, void *address, unsigned int *size) nogil
    ssize_t recv(int fd, void *buffer, size_t size, int flags) nogil
    ssize_t send(int fd, const void *buffer, size_t size, int flags) nogil
