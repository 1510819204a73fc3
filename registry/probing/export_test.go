package probing

// SQL has the statements.
var SQL = probeSQL
