// Package schema has the entities of the example.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Note is a row of notes.
type Note struct{ ent.Schema }

// Fields of a note, beside its id.
func (Note) Fields() []ent.Field { return []ent.Field{field.String("text")} }
