"""Pages over many sagas: failures, operator log, exports, accesses."""
