/** The library of the catalogue's row, under names that say nothing about which it is. */

export {
  libraryChoice,
  libraryIdentity,
  libraryTimes,
  libraryUse,
  planContraction as planWithLibrary,
} from './cudnn.js';
