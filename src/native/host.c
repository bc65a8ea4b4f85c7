/*
 * The host of the JavaScript engine. It offers one way to the kernel, host.syscall, one way to pass a structure that contains
 * pointers, host.addressOf, UTF-8, a hash, and the search of a netlink attribute; everything else is TypeScript.
 *
 *   HOST                    with an image: calls `main` of the program in it
 *   HOST write FILE IMAGE   without: evaluates the program FILE, which compile.c has made, and writes the heap to IMAGE
 *   HOST run FILE [ARG…]    without: evaluates the program FILE and calls its `main`
 *
 * In every case one JSON object is printed on stdout: by `main`, or a CNI error.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "heap.h"
#include "quickjs.h"
#include "sha256.h"

extern char **environ;

enum { MAX_ARGUMENTS = 7, MAX_STACK = 4 << 20 /* bytes */, MIN_STACK = 64 << 10, GC_THRESHOLD = 32 << 20 };

/* ---- failure: a CNI error on stdout, whatever happens */

static const char damaged[] = "the executable is damaged or was changed after it was built";
static const char reinstall[] = "Install bowline anew; compare its sha256 with that of the release.";

static void put(const char *text) {
  size_t left = strlen(text);
  for (ssize_t n; left > 0 && ((n = write(STDOUT_FILENO, text, left)) > 0 || errno == EINTR);)
    if (n > 0) text += n, left -= (size_t)n;
}

/* Writes text as the inside of a JSON string. */
static void put_escaped(const char *text) {
  char piece[2] = {0};
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    piece[0] = c < ' ' ? ' ' : (char)c;
    if (c == '"' || c == '\\') put("\\");
    put(piece);
  }
}

static _Noreturn void fail(const char *message, const char *details) {
  put("{\"cniVersion\":\"1.1.0\",\"code\":999,\"msg\":\"bowline: ");
  put_escaped(message);
  put("\",\"details\":\"");
  put_escaped(details);
  put("\"}\n");
  _exit(1);
}

/* False for a host without an image, which only the build and tests run. */
static bool has_sum = true;

/* FNV-1a over words. The last word of the file is the sum over all others. */
static bool is_intact(void) {
  if (!has_sum) return true;
  static uint64_t words[512];
  uint64_t sum = UINT64_C(0xcbf29ce484222325), last = sum;
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  for (ssize_t n; (n = read(fd, words, sizeof words)) > 0;) {
    for (ssize_t i = 0; i < n / 8; i++) {
      last = sum ^ words[i];
      sum = (sum ^ words[i]) * UINT64_C(0x100000001b3);
    }
  }
  close(fd);
  return last == 0;
}

static void on_crash(int signal) {
  char message[32] = "stopped by signal 00";
  message[18] = (char)('0' + signal / 10);
  message[19] = (char)('0' + signal % 10);
  bool intact = is_intact();
  fail(intact ? message : damaged, intact ? "This is a fault in bowline or its engine; please report it." : reinstall);
}

static void catch_crashes(void) {
  static uint8_t stack[16 << 10];
  const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
  struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
  sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
  /* A closed pipe and a file size limit become errors of write, and do not end the process. */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

/* An exception that nobody caught. Out of memory there may be no exception, or none that can be printed. */
static _Noreturn void fail_with_exception(JSContext *context) {
  JSValue exception = JS_GetException(context);
  const char *message = JS_ToCString(context, exception);
  JSValue trace = JS_IsObject(exception) ? JS_GetPropertyStr(context, exception, "stack") : JS_UNDEFINED;
  const char *stack = JS_IsString(trace) ? JS_ToCString(context, trace) : NULL;
  if (!is_intact()) fail(damaged, reinstall);
  if (!message) fail("out of memory", "Raise the limit on the address space or memory of this process.");
  fail(message, stack ? stack : "");
}

/* ---- what a program is given */

/* Returns true with a value for the kernel in `word`; `text` must be freed if it is set. */
static bool read_argument(JSContext *context, JSValueConst value, long *word, const char **text) {
  size_t length;
  if (JS_IsString(value)) {
    *text = JS_ToCStringLen(context, &length, value);
    if (!*text) return false;
    *word = (long)*text;
    if (strlen(*text) == length) return true;
    JS_ThrowTypeError(context, "a text with a NUL byte cannot be handed to the kernel");
    return false;
  }
  if (JS_IsNumber(value)) {
    double number;
    if (JS_ToFloat64(context, &number, value) < 0) return false;
    *word = number >= -0x1p53 && number <= 0x1p53 ? (long)number : 0;
    if ((double)*word == number) return true;
    JS_ThrowRangeError(context, "%g is not an integer that the kernel can be handed", number);
    return false;
  }
  if (JS_GetTypedArrayType(value) == JS_TYPED_ARRAY_UINT8) {
    *word = (long)JS_GetUint8Array(context, &length, value);
    return *word != 0 || !JS_HasException(context);
  }
  JS_ThrowTypeError(context, "only a number, a string or a Uint8Array can be handed to the kernel");
  return false;
}

/* syscall(number, …up to 6 arguments): what the kernel returns; a negative errno if it refuses. */
static JSValue native_syscall(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
  (void)this_value;
  long words[MAX_ARGUMENTS] = {0};
  const char *texts[MAX_ARGUMENTS] = {0};
  JSValue result = JS_EXCEPTION;
  int read = 0;
  if (argc < 1 || argc > MAX_ARGUMENTS) return JS_ThrowRangeError(context, "%d arguments for a system call", argc);
  while (read < argc && read_argument(context, argv[read], &words[read], &texts[read])) read++;
  if (read == argc) {
    long returned = syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
    result = JS_NewInt64(context, returned == -1 ? -(long)errno : returned);
  }
  for (int i = 0; i < argc; i++)
    if (texts[i]) JS_FreeCString(context, texts[i]);
  return result;
}

/* Returns the UTF-8 of the first argument, or NULL and leaves an exception. */
static const char *read_text(JSContext *context, int argc, JSValueConst *argv, size_t *length) {
  if (argc > 0 && JS_IsString(argv[0])) return JS_ToCStringLen(context, length, argv[0]);
  JS_ThrowTypeError(context, "only a string has UTF-8 and a hash");
  return NULL;
}

/* utf8(text): its bytes. TypeScript takes 0.1 ms for those of an ADD. */
static JSValue native_utf8(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
  (void)this_value;
  size_t length;
  const char *text = read_text(context, argc, argv, &length);
  if (!text) return JS_EXCEPTION;
  JSValue bytes = JS_NewUint8ArrayCopy(context, (const uint8_t *)text, length);
  JS_FreeCString(context, text);
  return bytes;
}

/* sha256(text): 64 hex digits, of its UTF-8. TypeScript takes 0.1 ms for what takes 0.001 ms here. */
static JSValue native_sha256(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
  (void)this_value;
  size_t length;
  uint32_t hash[8];
  char hex[65];
  const char *text = read_text(context, argc, argv, &length);
  if (!text) return JS_EXCEPTION;
  sha256((const uint8_t *)text, length, hash);
  JS_FreeCString(context, text);
  for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", hash[i]);
  return JS_NewStringLen(context, hex, 64);
}

/* addressOf(bytes): their address, for a structure that contains pointers. It is valid as long as they are referenced. */
static JSValue native_address_of(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
  (void)this_value;
  size_t length;
  if (argc < 1 || JS_GetTypedArrayType(argv[0]) != JS_TYPED_ARRAY_UINT8)
    return JS_ThrowTypeError(context, "only a Uint8Array has an address");
  const uint8_t *bytes = JS_GetUint8Array(context, &length, argv[0]);
  return JS_HasException(context) ? JS_EXCEPTION : JS_NewInt64(context, (int64_t)(intptr_t)bytes);
}

/* What a netlink attribute begins with (struct nlattr). The two highest bits of the type are flags. */
typedef struct { uint16_t length, type; } Attribute;
enum { TYPE_MASK = 0x3fff };

/*
 * attribute(bytes, offset, type): the value of the last netlink attribute of this type from the offset on. An ADD asks for 200, each
 * among up to 50, which takes TypeScript 0.2 ms.
 */
static JSValue native_attribute(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
  (void)this_value;
  size_t length = 0, start, found = 0, size = 0;
  uint64_t offset;
  uint32_t type;
  if (argc < 3 || JS_GetTypedArrayType(argv[0]) != JS_TYPED_ARRAY_UINT8)
    return JS_ThrowTypeError(context, "only a Uint8Array has attributes");
  if (JS_ToIndex(context, &offset, argv[1]) < 0 || JS_ToUint32(context, &type, argv[2]) < 0) return JS_EXCEPTION;
  const uint8_t *bytes = JS_GetUint8Array(context, &length, argv[0]);
  for (size_t at = offset; at + sizeof(Attribute) <= length;) {
    Attribute head;
    memcpy(&head, bytes + at, sizeof head);
    if (head.length < sizeof head || head.length > length - at) break;
    if ((head.type & TYPE_MASK) == type) found = at + sizeof head, size = head.length - sizeof head;
    at += (head.length + 3u) & ~3u;
  }
  if (!found) return JS_HasException(context) ? JS_EXCEPTION : JS_UNDEFINED;
  JSValue buffer = JS_GetTypedArrayBuffer(context, argv[0], &start, NULL, NULL);
  JSValue arguments[] = {buffer, JS_NewInt64(context, (int64_t)(start + found)), JS_NewInt64(context, (int64_t)size)};
  JSValue value = JS_NewTypedArray(context, 3, arguments, JS_TYPED_ARRAY_UINT8);
  JS_FreeValue(context, buffer);
  return value;
}

static JSValue native_load(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv);

static const JSCFunctionListEntry natives[] = {
  JS_CFUNC_DEF("syscall", 1, native_syscall),
  JS_CFUNC_DEF("addressOf", 1, native_address_of),
  JS_CFUNC_DEF("attribute", 3, native_attribute),
  JS_CFUNC_DEF("utf8", 1, native_utf8),
  JS_CFUNC_DEF("sha256", 1, native_sha256),
  JS_CFUNC_DEF("load", 1, native_load),
#ifdef __aarch64__
  JS_PROP_STRING_DEF("arch", "arm64", JS_PROP_ENUMERABLE),
#else
  JS_PROP_STRING_DEF("arch", "x64", JS_PROP_ENUMERABLE),
#endif
};

/*
 * ---- the program: modules that compile.c has compiled. Those that the entry needs are evaluated once, when the image is made. Those
 * behind `later` stay bytecode, which takes a third of the room, and are evaluated in the call that asks for them.
 */

static const uint8_t *program;
static size_t program_size, later;

static int read_program(const char *path) {
  struct stat status;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) < 0) return errno;
  void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (bytes == MAP_FAILED) return errno;
  memcpy(&later, bytes, sizeof later);
  program = (uint8_t *)bytes + sizeof later;
  program_size = (size_t)status.st_size - sizeof later;
  return 0;
}

/* Each module is its size as 8 bytes, its path with a closing NUL, and its bytecode. */
static JSModuleDef *load_module(JSContext *context, const char *path, void *opaque) {
  (void)opaque;
  for (size_t at = 0, size; at + sizeof size < program_size; at += size) {
    memcpy(&size, program + at, sizeof size);
    const char *name = (const char *)program + at + sizeof size;
    at += sizeof size + strlen(name) + 1;
    if (strcmp(name, path)) continue;
    JSValue module = JS_ReadObject(context, program + at, size, JS_READ_OBJ_BYTECODE);
    return JS_IsException(module) ? NULL : JS_VALUE_GET_PTR(module);
  }
  JS_ThrowReferenceError(context, "module %s was not compiled", path);
  return NULL;
}

/* An image must be the same each time it is made, but the engine seeds its hash tables and Math.random from the clock. */
static bool clock_stands;

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec now = {1, 0};
  if (!clock_stands) clock_gettime(CLOCK_REALTIME, &now);
  *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

/* Leaves the engine a part of the stack, so that recursion ends in an exception and not in a crash. */
static void limit_stack(JSRuntime *runtime) {
  struct rlimit limit;
  size_t stack = MAX_STACK;
  if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur / 2 < stack) stack = limit.rlim_cur / 2;
  JS_UpdateStackTop(runtime);
  JS_SetMaxStackSize(runtime, stack < MIN_STACK ? MIN_STACK : stack);
}

/* Clears the addresses of the stack that the engine stores, as they differ each time. limit_stack sets them in each call. */
static void forget_stack(JSRuntime *runtime) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0), *words = (uintptr_t *)runtime;
  for (size_t i = 0; i < heap_functions.js_malloc_usable_size(runtime) / sizeof *words; i++)
    if (words[i] > here - 2 * MAX_STACK && words[i] < here + MAX_STACK) words[i] = 0;
}

static JSContext *create_context(void) {
  JSRuntime *runtime = JS_NewRuntime2(&heap_functions, NULL);
  JSContext *context = runtime ? JS_NewContextRaw(runtime) : NULL;
  if (!context) fail("out of memory", "The engine could not be started.");
  limit_stack(runtime);
  /* The search for cycles writes to all of the image, so it runs only in a call that needs much memory. */
  JS_SetGCThreshold(runtime, GC_THRESHOLD);
  JS_SetModuleLoaderFunc(runtime, NULL, load_module, NULL);
  if (JS_AddIntrinsicBaseObjects(context) || JS_AddIntrinsicRegExp(context) || JS_AddIntrinsicJSON(context) || JS_AddIntrinsicMapSet(context) || JS_AddIntrinsicTypedArrays(context) ||
      JS_AddIntrinsicPromise(context) || JS_AddIntrinsicBigInt(context))
    fail_with_exception(context);
  JSValue global = JS_GetGlobalObject(context), host = JS_NewObject(context);
  JS_SetPropertyFunctionList(context, host, natives, sizeof natives / sizeof *natives);
  JS_SetPropertyStr(context, global, "host", host);
  JS_FreeValue(context, global);
  return context;
}

/* Evaluates a module and what it imports. Returns NULL and leaves an exception if that fails. */
static JSModuleDef *evaluate_module(JSContext *context, const char *path) {
  JSModuleDef *module = load_module(context, path, NULL);
  JSValue value = JS_MKPTR(JS_TAG_MODULE, module);
  if (!module || JS_ResolveModule(context, value) < 0) return NULL;
  JSValue result = JS_EvalFunction(context, JS_DupValue(context, value));
  if (!JS_IsException(result) && JS_PromiseState(context, result) == JS_PROMISE_REJECTED)
    JS_Throw(context, JS_PromiseResult(context, result)), result = JS_EXCEPTION;
  if (JS_IsException(result)) return NULL;
  JS_FreeValue(context, result);
  return module;
}

/* load(path): the exports of a module that was left for later. */
static JSValue native_load(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
  (void)this_value;
  const char *path = argc > 0 ? JS_ToCString(context, argv[0]) : NULL;
  JSModuleDef *module = path ? evaluate_module(context, path) : NULL;
  if (path) JS_FreeCString(context, path);
  return module ? JS_GetModuleNamespace(context, module) : JS_EXCEPTION;
}

/* The first module of a program is its entry. */
static void evaluate(void) {
  JSContext *context = create_context();
  JSModuleDef *module = evaluate_module(context, (const char *)program + sizeof(size_t));
  if (!module) fail_with_exception(context);
  JSValue names = JS_GetModuleNamespace(context, module);
  size_t size = program_size - later;
  uint8_t *kept = js_malloc(context, size + 1);
  if (!kept) fail_with_exception(context);
  memcpy(kept, program + later, size);
  *heap_root() = (Root){JS_GetRuntime(context), context, JS_GetPropertyStr(context, names, "main"), kept, size};
  JS_FreeValue(context, names);
}

static JSValue list_of(JSContext *context, char *const *texts) {
  JSValue list = JS_NewArray(context);
  for (uint32_t i = 0; texts[i]; i++)
    if (JS_SetPropertyUint32(context, list, i, JS_NewString(context, texts[i])) < 0) fail_with_exception(context);
  return list;
}

/* Calls main(arguments, environment): its result is the exit code. */
static int call_main(char **argv) {
  JSContext *context = heap_root()->context;
  limit_stack(heap_root()->runtime);
  JSValue arguments[] = {list_of(context, argv), list_of(context, environ)};
  JSValue result = JS_Call(context, heap_root()->main, JS_UNDEFINED, 2, arguments);
  int32_t code;
  if (JS_IsException(result) || JS_ToInt32(context, &code, result) < 0) fail_with_exception(context);
  return code;
}

/* Opens closed standard streams: else the first file to be opened would get the number of one, and our output. */
static void occupy_standard_streams(void) {
  for (int fd = 0; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0) open("/", O_PATH | O_CLOEXEC);
}

int main(int argc, char **argv) {
  catch_crashes();
  occupy_standard_streams();
  if (heap_restore()) {
    program = heap_root()->later;
    program_size = heap_root()->later_size;
    const char *command = getenv("CNI_COMMAND");
    if (command && !strcmp(command, "ADD")) heap_read_ahead();
    _exit(call_main(argv));
  }
  bool is_write = argc == 4 && !strcmp(argv[1], "write"), is_run = argc >= 3 && !strcmp(argv[1], "run");
  if (!is_write && !is_run) fail(damaged, reinstall);
  has_sum = false;
  clock_stands = is_write;
  int error = read_program(argv[2]);
  if (error) fail("cannot read the program", strerror(error));
  error = is_write ? heap_begin_image() : 0;
  if (error) fail("no memory for the image of the heap", strerror(error));
  evaluate();
  if (is_run) _exit(call_main(argv + 2));
  forget_stack(heap_root()->runtime);
  error = heap_write_image(argv[3]);
  if (error) fail("cannot write the image of the heap", strerror(error));
  return 0;
}
