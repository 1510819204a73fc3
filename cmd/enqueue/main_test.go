package main

import (
	"testing"

	"casq/internal/scripttest"
	"casq/internal/testdb"

	"github.com/rogpeppe/go-internal/testscript"
)

// run is a testscript.TestingM.
type run func() int

func (r run) Run() int { return r() }

func TestMain(m *testing.M) {
	testscript.Main(run(func() int { return testdb.Run(m) }), map[string]func(){"enqueue": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	scripttest.Run(t, "testdata/script", nil)
}
