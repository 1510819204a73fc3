package git

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

func openForChild(ctx context.Context, c *transfertest.Child) (transfertest.Closable, error) {
	return Open(ctx, Config{SourceURL: c.Source, TargetDir: c.Target, GitPath: c.GitPath, TestHook: c.Hook})
}
