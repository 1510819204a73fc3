package database

import (
	"testing"

	"casq/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }
