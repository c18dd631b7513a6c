/* The short way of a TFTP transfer in lockstep: an ACK comes in, the next block goes out, without Python in between.
 *
 * A Lockstep is what the loop calls when the transfer's socket is readable. It takes one datagram. The ACK of the last
 * block sent is answered with the block behind it; whatever else comes (a repeated or foreign ACK, an ERROR, the last
 * ACK) is handed to `other`, and so is an ACK whose answer could not be read or sent: nothing has happened then.
 * Options, retries, timeouts and ends are Python's (pxeforge.protocol.tftp.transfer), which does all of it where this
 * could not be compiled.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <structmember.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 4, AHEAD = 16384, MOST = 65464, LONGEST = 512 }; /* a room that starts at once is a thousand transfers */

typedef struct {
    PyObject_HEAD
    int udp, file;
    unsigned int blksize;
    unsigned long long size;
    unsigned long long sent;  /* the last block sent, counted from 1 without wrapping; 0: Python is not in lockstep */
    unsigned char *buffer;    /* room for a header, then bytes of the file from ahead_at on */
    unsigned long long ahead_at;
    size_t ahead, room;
    PyObject *other;
} Lockstep;

static int read_ahead(Lockstep *self, unsigned long long offset, size_t wanted) {
    if (offset >= self->ahead_at && offset + wanted <= self->ahead_at + self->ahead) return 1;
    ssize_t got = pread(self->file, self->buffer + HEADER, self->room, (off_t)offset);
    self->ahead_at = offset, self->ahead = got > 0 ? (size_t)got : 0;
    return self->ahead >= wanted;
}

static int send_block(Lockstep *self, unsigned long long block) {
    unsigned long long offset = (block - 1) * self->blksize;
    size_t wanted = self->size - offset < self->blksize ? (size_t)(self->size - offset) : self->blksize;
    if (!read_ahead(self, offset, wanted)) return 0;
    /* The header goes where the end of the block before was: that one has arrived. */
    unsigned char *packet = self->buffer + (offset - self->ahead_at);
    packet[0] = 0, packet[1] = 3, packet[2] = (unsigned char)(block >> 8), packet[3] = (unsigned char)block;
    return send(self->udp, packet, HEADER + wanted, MSG_DONTWAIT) == (ssize_t)(HEADER + wanted);
}

static PyObject *readable(Lockstep *self, PyObject *words, PyObject *named) {
    (void)words, (void)named;
    unsigned char data[LONGEST];
    ssize_t length = recv(self->udp, data, sizeof data, MSG_DONTWAIT);
    if (length < 0 || self->other == NULL) Py_RETURN_NONE;
    unsigned long long sent = self->sent;
    int is_awaited = length == 4 && sent && data[0] == 0 && data[1] == 4 && (data[2] << 8 | data[3]) == (int)(sent & 0xffff);
    if (is_awaited && sent * self->blksize <= self->size && send_block(self, sent + 1)) {
        self->sent = sent + 1;
        Py_RETURN_NONE;
    }
    PyObject *other = self->other;
    Py_INCREF(other); /* it may close us */
    PyObject *result = PyObject_CallFunction(other, "y#", (char *)data, (Py_ssize_t)length);
    Py_DECREF(other);
    return result;
}

static PyObject *make(PyTypeObject *type, PyObject *words, PyObject *named) {
    static char *names[] = {"udp", "file", "size", "blksize", "other", NULL};
    int udp, file;
    unsigned int blksize;
    unsigned long long size;
    PyObject *other;
    if (!PyArg_ParseTupleAndKeywords(words, named, "iiKIO", names, &udp, &file, &size, &blksize, &other)) return NULL;
    if (blksize < 8 || blksize > MOST) {
        PyErr_SetString(PyExc_ValueError, "blksize must be 8 to 65464 (RFC 2348)");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Lockstep *self = (Lockstep *)allocate(type, 0);
    if (self == NULL) return NULL;
    self->room = blksize > AHEAD ? blksize : AHEAD;
    self->buffer = malloc(HEADER + self->room);
    if (self->buffer == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->udp = udp, self->file = file, self->size = size, self->blksize = blksize;
    Py_INCREF(other);
    self->other = other;
    return (PyObject *)self;
}

static PyObject *set_out(Lockstep *self, PyObject *block) {
    unsigned long long sent = PyLong_AsUnsignedLongLong(block);
    if (PyErr_Occurred()) return NULL;
    if (sent <= self->sent) self->ahead = 0; /* the ends of blocks in the buffer are overwritten */
    self->sent = sent;
    Py_RETURN_NONE;
}

static PyObject *close_it(Lockstep *self, PyObject *ignored) {
    (void)ignored;
    self->sent = 0;
    Py_CLEAR(self->other);
    Py_RETURN_NONE;
}

static void forget(Lockstep *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_CLEAR(self->other);
    free(self->buffer);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"is_out", (PyCFunction)set_out, METH_O, "This block was sent; its ACK asks for the next. 0: there is none."},
    {"close", (PyCFunction)close_it, METH_NOARGS, "Nothing is sent any more; sockets and files stay their owner's."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef members[] = {
    {"sent", T_ULONGLONG, offsetof(Lockstep, sent), READONLY, "The last block sent, counted from 1 without wrapping."},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_doc, "Lockstep(udp, file, size, blksize, other): descriptors of a connected socket and an open file."},
    {Py_tp_new, make}, {Py_tp_dealloc, forget}, {Py_tp_call, readable}, {Py_tp_methods, methods},
    {Py_tp_members, members}, {0, NULL},
};
static PyType_Spec spec = {"pxeforge.servers.lockstep.Lockstep", sizeof(Lockstep), 0, Py_TPFLAGS_DEFAULT, slots};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "lockstep", "The short way of a TFTP transfer in lockstep.", -1,
                                    NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_lockstep(void) {
    PyObject *made = PyModule_Create(&module), *type = PyType_FromSpec(&spec);
    if (made == NULL || type == NULL || PyModule_AddObjectRef(made, "Lockstep", type) < 0) {
        Py_XDECREF(made);
        Py_XDECREF(type);
        return NULL;
    }
    Py_DECREF(type);
    return made;
}
