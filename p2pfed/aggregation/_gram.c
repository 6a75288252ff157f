/* Exact inner products of int16 rows, for machines that have a C compiler when p2pfed is installed.

   The twin of `gram._gram` in numpy, which gives the same integers and steps in where this was not built or fails its
   self-test. Plain C without intrinsics: the loops are shaped so that compilers find their instruction for sums of
   products of int16 (vpmaddwd on x86). */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>

/* A row is cut in two signed bytes, q = 256 * high + low, each in -128..127, or 128 for the highest q. Then a sum of
   COLUMNS products is at most 2^15 * 2^7 * 2^8 = 2^30 and fits int32; 16 rows of both halves stay in the first cache. */
#define COLUMNS 256
#define ROWS_MAX 512
#define TOGETHER 4

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* Add the products of the first `fresh` rows with all `n` to `out`, of shape (fresh, n), where column >= row. `high` and
   `low` have room for n * COLUMNS values. */
FOR_EACH_PROCESSOR
static void add_products(const int16_t *const *rows, Py_ssize_t n, Py_ssize_t fresh, Py_ssize_t size, int16_t *high,
                         int16_t *low, int64_t *out)
{
    for (Py_ssize_t begin = 0; begin < size; begin += COLUMNS) {
        const Py_ssize_t columns = size - begin < COLUMNS ? size - begin : COLUMNS;
        for (Py_ssize_t j = 0; j < n; j++) {
            const int16_t *row = rows[j] + begin;
            int16_t *h = high + j * COLUMNS, *l = low + j * COLUMNS;
            for (Py_ssize_t k = 0; k < columns; k++) {
                h[k] = (int16_t)((row[k] + 128) >> 8);
                l[k] = (int16_t)(row[k] - h[k] * 256);
            }
        }
        for (Py_ssize_t i = 0; i < fresh; i++) {
            const int16_t *row = rows[i] + begin;
            int64_t *products = out + i * n;
            Py_ssize_t j = i;
            for (; j + TOGETHER <= n; j += TOGETHER) {
                const int16_t *h0 = high + j * COLUMNS, *h1 = h0 + COLUMNS, *h2 = h1 + COLUMNS, *h3 = h2 + COLUMNS;
                const int16_t *l0 = low + j * COLUMNS, *l1 = l0 + COLUMNS, *l2 = l1 + COLUMNS, *l3 = l2 + COLUMNS;
                int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
                for (Py_ssize_t k = 0; k < columns; k++) {
                    const int32_t q = row[k];
                    a0 += q * h0[k], a1 += q * h1[k], a2 += q * h2[k], a3 += q * h3[k];
                    b0 += q * l0[k], b1 += q * l1[k], b2 += q * l2[k], b3 += q * l3[k];
                }
                products[j] += (int64_t)a0 * 256 + b0;
                products[j + 1] += (int64_t)a1 * 256 + b1;
                products[j + 2] += (int64_t)a2 * 256 + b2;
                products[j + 3] += (int64_t)a3 * 256 + b3;
            }
            for (; j < n; j++) {
                const int16_t *h = high + j * COLUMNS, *l = low + j * COLUMNS;
                int32_t a = 0, b = 0;
                for (Py_ssize_t k = 0; k < columns; k++) {
                    const int32_t q = row[k];
                    a += q * h[k], b += q * l[k];
                }
                products[j] += (int64_t)a * 256 + b;
            }
        }
    }
}

/* Take the memory of `object`, items of `item` bytes one after the other, `bytes` in all or any number for -1; 0, or -1
   with an exception. */
static int take(PyObject *object, int flags, Py_ssize_t item, Py_ssize_t bytes, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_ND) < 0) {
        return -1;
    }
    if (view->itemsize != item || (bytes >= 0 && view->len != bytes)) {
        PyErr_Format(PyExc_ValueError, "%zd bytes in items of %zd where %zd in items of %zd were expected", view->len,
                     view->itemsize, bytes, item);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

static PyObject *add_gram(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *given, *target, *result = NULL;
    Py_buffer views[ROWS_MAX], out;
    const int16_t *rows[ROWS_MAX];
    Py_ssize_t fresh, taken = 0;

    if (!PyArg_ParseTuple(args, "O!nO", &PyTuple_Type, &given, &fresh, &target)) {
        return NULL;
    }
    const Py_ssize_t n = PyTuple_Size(given);
    if (n < 1 || n > ROWS_MAX || fresh < 0 || fresh > n) {
        return PyErr_Format(PyExc_ValueError, "%zd of %zd rows, of which there may be 1 to %d", fresh, n, ROWS_MAX);
    }
    if (take(target, PyBUF_WRITABLE, sizeof(int64_t), fresh * n * (Py_ssize_t)sizeof(int64_t), &out) < 0) {
        return NULL;
    }
    for (; taken < n; taken++) {
        const Py_ssize_t bytes = taken ? views[0].len : -1;
        if (take(PyTuple_GetItem(given, taken), PyBUF_SIMPLE, sizeof(int16_t), bytes, &views[taken]) < 0) {
            break;
        }
        rows[taken] = views[taken].buf;
    }
    int16_t *halves = taken < n ? NULL : PyMem_Malloc(2 * n * COLUMNS * sizeof(int16_t));
    if (halves != NULL) {
        const Py_ssize_t size = views[0].len / (Py_ssize_t)sizeof(int16_t);
        Py_BEGIN_ALLOW_THREADS
        add_products(rows, n, fresh, size, halves, halves + n * COLUMNS, out.buf);
        Py_END_ALLOW_THREADS
        PyMem_Free(halves);
        Py_INCREF(Py_None);
        result = Py_None;
    } else if (taken == n) {
        PyErr_NoMemory();
    }
    while (taken--) {
        PyBuffer_Release(&views[taken]);
    }
    PyBuffer_Release(&out);
    return result;
}

static PyMethodDef methods[] = {
    {"add_gram", add_gram, METH_VARARGS,
     "add_gram(rows, fresh, out): add the products of the first `fresh` rows with all to `out`, int64 (fresh, n), in "
     "and above the diagonal."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_gram", "Exact inner products of int16 rows.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__gram(void)
{
    return PyModule_Create(&definition);
}
