/* The short way of files over HTTP: a socket takes more, the next piece goes out, without Python in between.
 *
 * A Pour knows, by socket, which part of which file is left to send. run() looks at the loop's epoll: a socket of its
 * own that can only be written to gets its next piece by sendfile(2). It goes on so until something else happened (other
 * sockets, a part that is sent, an error), which it returns as epoll does; or until the time is over, with an empty
 * list. Errors and ends are Python's: what run() could not send is still there for take(). Where this could not be
 * compiled, pouring.py does the same.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <time.h>

enum { EVENTS = 256, SOCKETS = 1 << 20 };

typedef struct {
    int file; /* -1: none */
    long long offset, length;
} Part;

typedef struct {
    PyObject_HEAD
    int epoll;
    size_t most; /* bytes of one socket before the next one has its turn */
    Part *parts; /* by descriptor of the socket */
    int room;
} Pour;

static Part *part_of(Pour *self, int socket) {
    return socket >= 0 && socket < self->room && self->parts[socket].file >= 0 ? &self->parts[socket] : NULL;
}

/* 1: the next piece is out, or the socket is full; 0: it is Python's. */
static int pour_piece(Part *part, int socket, size_t most) {
    off_t offset = (off_t)part->offset;
    size_t wanted = (unsigned long long)part->length < most ? (size_t)part->length : most;
    ssize_t sent = sendfile(socket, part->file, &offset, wanted);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    part->offset += sent, part->length -= sent;
    return sent > 0 && part->length > 0;
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int pour_until(Pour *self, struct epoll_event *events, double end) {
    for (double left; (left = end - now()) > 0;) {
        int count = epoll_wait(self->epoll, events, EVENTS, (int)(left * 1000) + 1), others = 0;
        if (count < 0) return 0; /* a signal: Python looks */
        for (int i = 0; i < count; i++) {
            Part *part = events[i].events == EPOLLOUT ? part_of(self, events[i].data.fd) : NULL;
            if (part == NULL || !pour_piece(part, events[i].data.fd, self->most)) events[others++] = events[i];
        }
        if (others) return others;
    }
    return 0;
}

static PyObject *run(Pour *self, PyObject *limit) {
    struct epoll_event events[EVENTS];
    double limit_s = PyFloat_AsDouble(limit);
    int count;
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS
    count = pour_until(self, events, now() + limit_s);
    Py_END_ALLOW_THREADS
    PyObject *found = PyList_New(count);
    for (int i = 0; found != NULL && i < count; i++) {
        PyObject *pair = Py_BuildValue("(iI)", events[i].data.fd, (unsigned int)events[i].events);
        if (pair == NULL || PyList_SetItem(found, i, pair) < 0) Py_CLEAR(found);
    }
    return found;
}

static PyObject *add(Pour *self, PyObject *words) {
    int socket, file;
    long long offset, length;
    if (!PyArg_ParseTuple(words, "iiLL", &socket, &file, &offset, &length)) return NULL;
    if (socket < 0 || socket >= SOCKETS || file < 0 || offset < 0 || length <= 0) {
        PyErr_SetString(PyExc_ValueError, "no such part of a file, or no such socket");
        return NULL;
    }
    if (socket >= self->room) {
        int room = socket + 64;
        Part *parts = realloc(self->parts, (size_t)room * sizeof(Part));
        if (parts == NULL) return PyErr_NoMemory();
        for (int i = self->room; i < room; i++) parts[i].file = -1;
        self->parts = parts, self->room = room;
    }
    self->parts[socket] = (Part){file, offset, length};
    Py_RETURN_NONE;
}

static PyObject *left(Pour *self, PyObject *number) {
    int socket = (int)PyLong_AsLong(number);
    if (PyErr_Occurred()) return NULL;
    Part *part = part_of(self, socket);
    if (part == NULL) {
        PyErr_SetObject(PyExc_KeyError, number);
        return NULL;
    }
    return Py_BuildValue("(LL)", part->offset, part->length);
}

static PyObject *take(Pour *self, PyObject *number) {
    PyObject *found = left(self, number);
    if (found != NULL) self->parts[PyLong_AsLong(number)].file = -1;
    return found;
}

static PyObject *make(PyTypeObject *type, PyObject *words, PyObject *named) {
    static char *names[] = {"epoll", "most", NULL};
    int epoll;
    Py_ssize_t most;
    if (!PyArg_ParseTupleAndKeywords(words, named, "in", names, &epoll, &most)) return NULL;
    if (most <= 0) {
        PyErr_SetString(PyExc_ValueError, "most must be above 0");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Pour *self = (Pour *)allocate(type, 0);
    if (self != NULL) self->epoll = epoll, self->most = (size_t)most;
    return (PyObject *)self;
}

static void forget(Pour *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    free(self->parts);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"add", (PyCFunction)add, METH_VARARGS, "(socket, file, offset, length): bytes of an open file go to a socket."},
    {"left", (PyCFunction)left, METH_O, "(offset, length) of what is not sent yet; raises KeyError."},
    {"take", (PyCFunction)take, METH_O, "Like left(), and nothing more is sent."},
    {"run", (PyCFunction)run, METH_O, "Sends for so many seconds at most; returns what else happened, as epoll does."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_doc, "Pour(epoll, most): descriptor of an epoll, bytes sent to a socket before the next one has its turn."},
    {Py_tp_new, make}, {Py_tp_dealloc, forget}, {Py_tp_methods, methods}, {0, NULL},
};
static PyType_Spec spec = {"pxeforge.servers.pour.Pour", sizeof(Pour), 0, Py_TPFLAGS_DEFAULT, slots};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "pour", "The short way of files over HTTP.", -1,
                                    NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_pour(void) {
    PyObject *made = PyModule_Create(&module), *type = PyType_FromSpec(&spec);
    if (made == NULL || type == NULL || PyModule_AddObjectRef(made, "Pour", type) < 0) {
        Py_XDECREF(made);
        Py_XDECREF(type);
        return NULL;
    }
    Py_DECREF(type);
    return made;
}
