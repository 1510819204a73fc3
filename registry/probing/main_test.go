package probing_test

import (
	"testing"

	"casq/internal/testing/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }
