// Package queries reads files of named SQL statements.
//
// A file holds the statements of one topic, each under a line with its name:
//
//	-- name: Take
//	-- What the statement is for.
//	UPDATE ...
//
//	-- name: Release
//	...
//
// A package embeds the file and gets a struct with a field for each statement:
//
//	//go:embed claim.sql
//	var claimText string
//
//	var claimSQL = queries.Parse[struct{ Take, Release string }]("registry/claim", claimText)
//
// The topic and the name stay at the head of what is sent, so that
// pg_stat_activity and a server's log tell which statement it is.
package queries

import (
	"fmt"
	"reflect"
	"strings"
)

const mark = "-- name: "

// Statement is one of a file's.
type Statement struct{ Name, SQL string }

// Split cuts a file into its statements, in their order.
func Split(topic, text string) ([]Statement, error) {
	head, rest, found := strings.Cut("\n"+text, "\n"+mark)
	if !found || strings.TrimSpace(head) != "" {
		return nil, fmt.Errorf("read the queries of %s: want %q and a name on the first line", topic, mark)
	}
	var statements []Statement
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(rest, "\n"+mark) {
		name, sql, _ := strings.Cut(part, "\n")
		name, sql = strings.TrimSpace(name), strings.TrimSpace(sql)
		if name == "" || sql == "" {
			return nil, fmt.Errorf("read the queries of %s: query %q needs a name and a statement", topic, name)
		}
		if seen[name] {
			return nil, fmt.Errorf("read the queries of %s: query %s is there twice", topic, name)
		}
		seen[name] = true
		statements = append(statements, Statement{name, fmt.Sprintf("-- casq: %s.%s\n%s", topic, name, sql)})
	}
	return statements, nil
}

// Parse returns a struct of strings whose fields are named as the statements of
// the file. It panics when a name has no field or a field no statement: both are
// known when the program is built, and any test finds them.
func Parse[T any](topic, text string) T {
	var t T
	statements, err := Split(topic, text)
	if err != nil {
		panic(err)
	}
	fields := reflect.ValueOf(&t).Elem()
	for _, s := range statements {
		field := fields.FieldByName(s.Name)
		if !field.IsValid() {
			panic(fmt.Sprintf("read the queries of %s: nobody uses %s", topic, s.Name))
		}
		field.SetString(s.SQL)
	}
	for i := range fields.NumField() {
		if fields.Field(i).String() == "" {
			panic(fmt.Sprintf("read the queries of %s: there is no query %s", topic, fields.Type().Field(i).Name))
		}
	}
	return t
}
