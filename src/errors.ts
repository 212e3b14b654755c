export { ERROR_CODES, type ErrorCode, FracstrideError, show } from '../codegen/errors.js';
