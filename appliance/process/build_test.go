package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is shipped has the tags of what is tested: each way to compile headwater names them.
func TestTags(t *testing.T) {
	root, err := ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Makefile", "Containerfile"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		stripped := strings.Count(string(text), "-ldflags")
		tagged := strings.Count(string(text), "-buildvcs=false -tags "+Tags+" ")
		if stripped != 1 || tagged != 1 {
			t.Errorf("%s has %d builds with -ldflags, and %d with -tags %s; it should have one, with both", name, stripped, tagged, Tags)
		}
	}
}
