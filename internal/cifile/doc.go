// Package cifile reads CI files, .gitlab-ci.yml, and says which jobs a run of one has.
//
// [Read] reads a file and what it includes of the same folder: anchors, !reference,
// extends and defaults are resolved then. [File.Plan] goes by variables: rules choose the
// jobs, and needs and stages their order.
//
// # Guarantee
//
// What is not supported is refused by its name and line, and never passed over. A key
// that no CI file has, and a value of the wrong type, are refused wherever they stand; a
// key that is known and not supported here, such as environment, only in jobs that are to
// run. Nothing outside the folder is read, also through links. A file of any content ends
// in an answer: aliases, references and includes are counted, and their number is limited.
//
// The package reads files and has no other effect: it knows no database and no runner.
package cifile
