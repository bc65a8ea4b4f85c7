/*
 * Compiles modules to bytecode, when bowline is built: COMPILE ENTRY OUTPUT [LATER], in the directory that their paths begin at.
 * Imported modules are compiled too. The compiler is not part of the executable.
 *
 * OUTPUT is a program for host.c: 8 bytes that say where the modules begin that only LATER needs; then for each module, the entry
 * first, its size as 8 bytes, its path with a closing NUL, its bytecode with function names and lines.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "quickjs.h"

enum { MAX_MODULES = 1000, FLAGS = JS_WRITE_OBJ_BYTECODE | JS_WRITE_OBJ_STRIP_SOURCE };

/* The engine needs this variable of its host (scripts/build/changes.ts): no block is immortal here. */
struct { uintptr_t end; int count; size_t used; } heap_state;

typedef struct { char *path; uint8_t *bytecode; size_t size; } Module;
static Module modules[MAX_MODULES];
static size_t count, early;

static char *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  char *text = NULL;
  if (!file) return NULL;
  if (fseek(file, 0, SEEK_END) == 0) {
    *length = (size_t)ftell(file);
    rewind(file);
    text = malloc(*length + 1);
    if (text && fread(text, 1, *length, file) == *length) text[*length] = 0;
  }
  fclose(file);
  return text;
}

/* Called by the engine for each import. A module gets its place before those that it imports. */
static JSModuleDef *compile_module(JSContext *context, const char *path, void *opaque) {
  (void)opaque;
  size_t length, place = count++;
  char *text = place < MAX_MODULES ? read_file(path, &length) : NULL;
  if (!text) {
    JS_ThrowReferenceError(context, "cannot read module %s", path);
    return NULL;
  }
  JSValue value = JS_Eval(context, text, length, path, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  free(text);
  if (JS_IsException(value)) return NULL;
  Module *module = &modules[place];
  module->path = strdup(path);
  module->bytecode = JS_WriteObject(context, &module->size, value, FLAGS);
  return module->bytecode ? JS_VALUE_GET_PTR(value) : NULL;
}

static int write_program(const char *path) {
  FILE *file = fopen(path, "wb");
  size_t later = 0;
  if (!file) return -1;
  for (size_t i = 0; i < early; i++) later += sizeof modules[i].size + strlen(modules[i].path) + 1 + modules[i].size;
  fwrite(&later, sizeof later, 1, file);
  for (size_t i = 0; i < count; i++) {
    fwrite(&modules[i].size, sizeof modules[i].size, 1, file);
    fwrite(modules[i].path, strlen(modules[i].path) + 1, 1, file);
    fwrite(modules[i].bytecode, modules[i].size, 1, file);
  }
  return ferror(file) | fclose(file);
}

int main(int argc, char **argv) {
  JSRuntime *runtime = JS_NewRuntime();
  JSContext *context = runtime ? JS_NewContext(runtime) : NULL;
  if (argc < 3 || argc > 4 || !context) return 2;
  JS_SetModuleLoaderFunc(runtime, NULL, compile_module, NULL);
  for (int i = 1; i < argc; i += 2) {
    if (!compile_module(context, argv[i], NULL)) {
      JSValue error = JS_GetException(context);
      fprintf(stderr, "%s: %s\n", argv[i], JS_ToCString(context, error));
      return 1;
    }
    if (i == 1) early = count;
  }
  if (write_program(argv[2]) == 0) return 0;
  perror(argv[2]);
  return 1;
}
