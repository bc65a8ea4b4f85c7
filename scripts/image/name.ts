import { VERSION } from '../../src/core/version.ts'

/** conf/bowline.yaml names it; a test compares. No registry has it: to push it, name it anew. */
export const IMAGE_NAME = `localhost/bowline:${VERSION}`
