package file

import (
	"context"
	"os"
	"testing"

	"casq/internal/testing/transfertest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if code, isChild := transfertest.ChildMain(openForChild); isChild {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func openForChild(_ context.Context, c *transfertest.Child) (transfertest.Closable, error) {
	return testConfig{SourceURL: c.Source, Config: Config{Target: c.Target, TestHook: c.Hook}}.open()
}
