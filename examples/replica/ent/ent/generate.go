// Package ent is what the generator makes of the schema.
package ent

//go:generate go run -mod=mod entgo.io/ent/cmd/ent generate ./schema
