package debtest

import "testing"

// The package has programs that were built without C (CGO_ENABLED=0), and all tests are of others:
// the race detector wants C. So that what is tested is what is shipped, both are made of the same
// files, but for Go's own.
func TestProgramsAreTheSameWithoutC(t *testing.T) {
	t.Parallel()
	files := func(c string) string {
		return run(t, []string{"GOFLAGS=", "CGO_ENABLED=" + c}, "go", "list", "-deps", "-f",
			"{{if not .Standard}}{{.ImportPath}} {{.GoFiles}} {{.CgoFiles}} {{.SFiles}} {{.Error}}{{end}}", "casq/cmd/worker", "casq/cmd/enqueue")
	}
	if with, without := files("1"), files("0"); with != without || with == "" {
		t.Errorf("with C the programs are of\n%s\nwithout it of\n%s", with, without)
	}
}
