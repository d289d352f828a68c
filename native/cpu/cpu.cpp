// Which CPU levels this machine can run: asked before any of the compiled levels is loaded. Built for the baseline.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace {

// Names of the levels that this machine runs, slowest first.
PyObject *levels(PyObject *, PyObject *) {
    PyObject *names = PyList_New(0);
    if (!names) return nullptr;
    auto add = [&](const char *name) {
        PyObject *text = PyUnicode_FromString(name);
        if (text) PyList_Append(names, text);
        Py_XDECREF(text);
    };
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) {
        add("v2");
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
            add("v3");
            if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
                __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16"))
                add("v4");
        }
    }
#elif defined(__aarch64__)
    add("neon");
#else
    add("plain");
#endif
    return names;
}

PyMethodDef methods[] = {{"levels", levels, METH_NOARGS, "Names of the CPU levels this machine runs, slowest first."},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_cpu", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu(void) { return PyModule_Create(&definition); }
