export type Change = { readonly from: string; readonly to: string }

/** The changes to quickjs.c. Each text must occur there once. */
export const CHANGES: readonly Change[] = [
  /*
   * The engine cuts small blocks out of pages of its own, which scatters what a call writes to over many pages of the image. It
   * has a switch to leave all blocks to the host, but only its address sanitizer build sets it.
   */
  { from: '#define JS_ARENA_LARGE_BLOCKS_ONLY 0', to: '#define JS_ARENA_LARGE_BLOCKS_ONLY 1' },
  /*
   * An object of the image lives as long as the process. Counting the references to it would write to nearly every page of
   * the image, and each page that is written to is copied first: 0.9 MB and 200 page faults of an ADD. So all of it shares one
   * counter, which never comes near 0 or 1.
   */
  {
    from: '#define JS_REF_COUNT(p) (js_rc(p)->ref_count)',
    to: `extern struct { uintptr_t end; int count; size_t used; } heap_state;
#define JS_REF_COUNT(p) (*((uintptr_t)(p) < heap_state.end ? &heap_state.count : &js_rc(p)->ref_count))
#define IS_COUNTED(v) (JS_VALUE_HAS_REF_COUNT(v) && (uintptr_t)JS_VALUE_GET_PTR(v) >= heap_state.end)`,
  },
  // References are counted 170,000 times in an ADD, half of them to what is in the image.
  {
    from: `static JSValue js_dup(JSValueConst v)
{
    if (JS_VALUE_HAS_REF_COUNT(v)) {
        void *p = JS_VALUE_GET_PTR(v);
        JS_REF_COUNT(p)++;
    }`,
    to: `static inline __attribute__((always_inline)) JSValue js_dup(JSValueConst v)
{
    if (IS_COUNTED(v))
        js_rc(JS_VALUE_GET_PTR(v))->ref_count++;`,
  },
  {
    from: '    JS_FreeValueRT(ctx->rt, v);\n}\n\n/* garbage collection */',
    to: `    if (IS_COUNTED(v) && --js_rc(JS_VALUE_GET_PTR(v))->ref_count <= 0)
        js_free_value_rt(ctx->rt, v);
}

/* garbage collection */`,
  },
  /*
   * The engine sums up the sizes of all blocks, and asks for the size of a block twice in its life. Our heap knows the sizes and the
   * sum. That and heap_malloc take a tenth off the instructions of an ADD.
   */
  {
    from: `        return NULL;

    s = &rt->malloc_state;
    /* When malloc_limit is 0 (unlimited), malloc_limit - 1 will be SIZE_MAX. */
    if (unlikely(s->malloc_size + size > s->malloc_limit - 1))`,
    to: `        return NULL;
    return arena_malloc_large(rt, size);

    if (1)`,
  },
  {
    from: `    s = &rt->malloc_state;
    /* When malloc_limit is 0 (unlimited), malloc_limit - 1 will be SIZE_MAX. */
    if (unlikely(s->malloc_size + (count * size) > s->malloc_limit - 1))`,
    to: `    return arena_calloc_large(rt, count * size);

    if (1)`,
  },
  {
    from: '    s = &rt->malloc_state;\n    size_t free_size = js_arena_usable_size(rt, ptr)',
    to: `    rt->mf.js_free(rt->malloc_state.opaque, container_of(ptr, JSMallocBlockHeader, user_data));
    return;

    size_t free_size = js_arena_usable_size(rt, ptr)`,
  },
  {
    from: '    old_size = js_arena_usable_size(rt, ptr);\n    s = &rt->malloc_state;',
    to: `    return js_arena_realloc(rt, ptr, size);
`,
  },
  {
    from: 'force_gc = ((rt->malloc_state.malloc_size + size) >',
    to: 'force_gc = ((heap_state.used + size) >',
  },
  {
    from: 'rt->malloc_gc_threshold = rt->malloc_state.malloc_size +\n            (rt->malloc_state.malloc_size >> 1);',
    to: 'rt->malloc_gc_threshold = heap_state.used + (heap_state.used >> 1);',
  },
  // A name is a small number, which needs less mixing than an address: 30,000 in an ADD.
  {
    from: 'static uintptr_t hash_atom(JSAtom atom, uintptr_t mask)\n{\n    int shift = 1 + clz_uintptr(mask+1);\n    return hash_uintptr(atom) >> shift;',
    to: 'static inline uintptr_t hash_atom(JSAtom atom, uintptr_t mask)\n{\n    return (atom * UINT32_C(0x9e3779b1) >> 12) & mask;',
  },
  /*
   * The table of the shapes of objects doubles when it is full, and then each shape is written to, wherever it is. We have some
   * 260, and a call that made the 257th touched 0.2 MB.
   */
  { from: 'rt->shape_hash_bits = 6;', to: 'rt->shape_hash_bits = 10;' },
  // With its dumps, which only its developers read, the engine keeps a list of all strings: 80 kB of the image, and work for each new one.
  { from: '#define ENABLE_DUMPS', to: '' },
  // Threads that wait for each other are not among our needs.
  { from: '#define CONFIG_ATOMICS', to: '' },
  // Normal forms of Unicode take tables of 20 kB.
  { from: 'JS_CFUNC_DEF("normalize", 0, js_string_normalize ),', to: '' },
  { from: 'JS_CFUNC_DEF("localeCompare", 1, js_string_localeCompare ),', to: '' },
  // Each `function` could be a constructor and has a property for that: 60 kB. We construct classes only.
  { from: '} else if (b->has_prototype) {', to: '} else if (0) {' },
  /*
   * What runs once, at the top of a module, and the list of what the module imports are not needed after that. They would be a
   * tenth of the image.
   */
  {
    from: '        if (state == JS_PROMISE_FULFILLED) {\n            JS_FreeValue(ctx, promise);',
    to: `        if (state == JS_PROMISE_FULFILLED) {
            JS_FreeValue(ctx, promise);
            JS_FreeValue(ctx, m->func_obj);
            m->func_obj = JS_UNDEFINED;`,
  },
  {
    from: '        /* keep the exported variables in the module export entries (they',
    to: `        js_free(ctx, m->import_entries);
        m->import_entries = NULL;
        m->import_entries_count = 0;
        /* keep the exported variables in the module export entries (they`,
  },
  // Each string and each name has room for weak references to it, 8 bytes: 40 kB of the image. Only a symbol could have one.
  {
    from: `    JSWeakRefRecord *first_weak_ref;
#ifdef ENABLE_DUMPS // JS_DUMP_LEAKS
    struct list_head link; /* string list */
#endif`,
    to: '    uint32_t padding;',
  },
  {
    from: '    p->atom_type = atom_type;\n    p->first_weak_ref = NULL;',
    to: '    p->atom_type = atom_type;',
  },
  {
    from: `    rt->atom_free_index = i;
    if (unlikely(p->first_weak_ref)) {
        reset_weak_ref(rt, &p->first_weak_ref);
    }`,
    to: '    rt->atom_free_index = i;',
  },
  {
    from: 'JSAtomStruct *p = JS_VALUE_GET_PTR(key);\n                return &p->first_weak_ref;',
    to: 'abort();',
  },
  // Angles are not among our needs either.
  ...'acos asin atan cos sin tan cosh sinh tanh acosh asinh atanh cbrt'.split(' ').map((name) => ({
    from: `JS_CFUNC_SPECIAL_DEF("${name}", 1, f_f, js_math_${name} ),`,
    to: '',
  })),
  // A stack trace names the line of a call. Its column as well would make the tables of lines twice as large, which are 80 kB.
  {
    from: 'int col_num = s->source_loc_slots[i].col_num;',
    to: 'int col_num = last_col_num;',
  },
  { from: 'dbuf_printf(&dbuf, ":%d:%d", line_num1, col_num1);', to: 'dbuf_printf(&dbuf, ":%d", line_num1);' },
  // The names of local variables would add 20 kB to the image, and only a debugger needs them.
  { from: 'bc_put_atom(s, vd->var_name);', to: 'bc_put_atom(s, JS_ATOM_NULL);' },
  // So would those of variables that a closure has from the function around it; a global one is found by its name.
  {
    from: 'bc_put_atom(s, cv->var_name);',
    to: 'bc_put_atom(s, cv->closure_type <= JS_CLOSURE_GLOBAL_REF ? JS_ATOM_NULL : cv->var_name);',
  },
  // What is left of a local variable says how a closure captures it. Most functions have no such variable.
  {
    from: 'if (b->vardefs) {\n        /* XXX: this field is redundant */',
    to: 'if (b->vardefs && b->var_ref_count) {\n        /* XXX: this field is redundant */',
  },
  /*
   * The code of a function is cold when it is called, as nearly all functions of a call run once. The processor is told of all its
   * cache lines at once; else it waits for one after the other.
   */
  {
    from: '    b = p->u.func.function_bytecode;\n\n    if (unlikely(argc < b->arg_count',
    to: `    b = p->u.func.function_bytecode;
    for(i = 64; i < 512; i += 64)
        __builtin_prefetch((uint8_t *)b + i);

    if (unlikely(argc < b->arg_count`,
  },
  /*
   * Each function that a call creates got a shape, then two properties, and so the shape of all other functions. It gets that at once
   * here, 400 times in an ADD.
   */
  {
    from: '    JSShape *array_shape;   /* initial shape for Array objects */',
    to: '    JSShape *array_shape;   /* initial shape for Array objects */\n    JSShape *closure_shape;',
  },
  {
    from: '    func_obj = JS_NewObjectClass(ctx, func_kind_to_class_id[b->func_kind]);\n    if (JS_IsException(func_obj)) {\n        JS_FreeValue(ctx, bfunc);',
    to: `    name_atom = b->func_name ? b->func_name : JS_ATOM_empty_string;
    if (b->func_kind == JS_FUNC_NORMAL && ctx->closure_shape) {
        JSProperty props[2];
        props[0].u.value = js_int32(b->defined_arg_count);
        props[1].u.value = JS_AtomToString(ctx, name_atom);
        func_obj = JS_NewObjectFromShape(ctx, js_dup_shape(ctx->closure_shape), JS_CLASS_BYTECODE_FUNCTION, props);
        if (!JS_IsException(func_obj))
            return js_closure2(ctx, func_obj, b, cur_var_refs, sf);
        JS_FreeValue(ctx, bfunc);
        return func_obj;
    }
    func_obj = JS_NewObjectClass(ctx, func_kind_to_class_id[b->func_kind]);
    if (JS_IsException(func_obj)) {
        JS_FreeValue(ctx, bfunc);`,
  },
  {
    from: '    js_function_set_properties(ctx, func_obj, name_atom,\n                               b->defined_arg_count);',
    to: `    js_function_set_properties(ctx, func_obj, name_atom, b->defined_arg_count);
    if (b->func_kind == JS_FUNC_NORMAL)
        ctx->closure_shape = js_dup_shape(JS_VALUE_GET_OBJ(func_obj)->shape);`,
  },
  // What map, filter and their like append to an array became a property first, by name and with flags.
  {
    from: `int JS_DefinePropertyValueValue(JSContext *ctx, JSValueConst this_obj,
                                JSValue prop, JSValue val, int flags)
{`,
    to: `int JS_DefinePropertyValueValue(JSContext *ctx, JSValueConst this_obj,
                                JSValue prop, JSValue val, int flags)
{
    if (JS_VALUE_GET_TAG(this_obj) == JS_TAG_OBJECT && JS_VALUE_GET_TAG(prop) == JS_TAG_INT &&
        (flags & JS_PROP_C_W_E) == JS_PROP_C_W_E) {
        JSObject *p = JS_VALUE_GET_OBJ(this_obj);
        if (p->class_id == JS_CLASS_ARRAY && p->fast_array && p->extensible &&
            (uint32_t)JS_VALUE_GET_INT(prop) == p->u.array.count)
            return add_fast_array_element(ctx, p, val, flags);
    }`,
  },
  // The length of an array is its first property.
  ...['32(JSContext *ctx, uint32_t', '64(JSContext *ctx, int64_t'].map((parameters) => ({
    from: `static __exception int js_get_length${parameters} *pres,
                                       JSValueConst obj)
{`,
    to: `static __exception int js_get_length${parameters} *pres,
                                       JSValueConst obj)
{
    if (JS_VALUE_GET_TAG(obj) == JS_TAG_OBJECT && JS_VALUE_GET_OBJ(obj)->class_id == JS_CLASS_ARRAY &&
        JS_VALUE_GET_TAG(JS_VALUE_GET_OBJ(obj)->prop[0].u.value) == JS_TAG_INT) {
        *pres = JS_VALUE_GET_INT(JS_VALUE_GET_OBJ(obj)->prop[0].u.value);
        return 0;
    }`,
  })),
  // Of its source, a function keeps the first line. Room for text and column would add 47 kB to the image.
  {
    from: '    int col_num;\n    int source_len;\n    int pc2line_len;\n    uint8_t *pc2line_buf;\n    char *source;\n} JSFunctionBytecode;',
    to: '    int pc2line_len;\n    uint8_t *pc2line_buf;\n} JSFunctionBytecode;',
  },
  {
    from: `    JS_CGETSET_MAGIC_DEF("columnNumber", js_function_proto_int32, NULL,
                         offsetof(JSFunctionBytecode, col_num)),`,
    to: '',
  },
  { from: '    js_func_size += b->source_len + 1;', to: '' },
  { from: 'col_num = b->col_num;', to: 'col_num = 1;' },
  { from: '    b->col_num = fd->col_num;', to: '' },
  {
    from: '    b->source = fd->source;\n    b->source_len = fd->source_len;',
    to: '    js_free(ctx, fd->source);',
  },
  { from: '    js_free_rt(rt, b->source);', to: '' },
  { from: '        bc_put_leb128(s, b->col_num);\n', to: '' },
  {
    from: `        if (s->allow_source && b->source) {
            bc_put_leb128(s, b->source_len);
            dbuf_put(&s->dbuf, b->source, b->source_len);
        } else {
            bc_put_leb128(s, 0);
        }`,
    to: '',
  },
  { from: '    if (bc_get_leb128_int(s, &b->col_num))\n        goto fail;', to: '' },
  {
    from: `    if (bc_get_leb128_int(s, &b->source_len))
        goto fail;
    if (b->source_len) {
        bc_read_trace(s, "source: %d bytes\\n", b->source_len);
        if (s->ptr_last)
            s->ptr_last += b->source_len;  // omit source code hex dump
        /* b->source is a UTF-8 encoded null terminated C string */
        b->source = js_mallocz(ctx, b->source_len + 1);
        if (!b->source)
            goto fail;
        if (bc_get_buf(s, b->source, b->source_len))
            goto fail;
    }`,
    to: '',
  },
  {
    from: `        JSFunctionBytecode *b = p->u.func.function_bytecode;
        /* \`b->source\` must be pure ASCII or UTF-8 encoded */
        if (b->source)
            return JS_NewStringLen(ctx, b->source, b->source_len);`,
    to: '',
  },
]
