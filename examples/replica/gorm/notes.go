// Package gorm is the example with GORM.
package gorm

import (
	"context"
	"database/sql"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

type note struct {
	ID   int64
	Text string
}

// Run adds a note and reads it.
func Run(ctx context.Context, conn *sql.DB, text string) (string, error) {
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: conn}))
	if err != nil {
		return "", err
	}
	added := note{Text: text}
	if err := db.WithContext(ctx).Create(&added).Error; err != nil {
		return "", err
	}
	var got note
	err = db.WithContext(ctx).First(&got, added.ID).Error
	return got.Text, err
}
