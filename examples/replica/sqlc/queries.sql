-- name: AddNote :one
INSERT INTO notes (text) VALUES ($1) RETURNING id;

-- name: GetNote :one
SELECT text FROM notes WHERE id = $1;
