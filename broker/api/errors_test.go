package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/wire"
)

// never are the exported errors that no request can meet, and why.
var never = map[string]string{
	"disk.ErrLocked":             "from opening the data directory, when no client is there yet",
	"disk.ErrCrashed":            "the crashable disk's, in tests",
	"wire.ErrBadAnswer":          "another broker's answer, which no client asked for",
	"commitlog.ErrReplicaOffset": "from what a follower has fetched",
	"commitlog.ErrReplicaEpoch":  "from what a follower has fetched",

	// ZooKeeper's are told to clients in cluster's words, by the room between.
	"zk.ErrAway":             "nothing was asked of ZooKeeper",
	"zk.ErrUncertain":        "ZooKeeper's answer was lost",
	"zk.ErrOver":             "the session is over",
	"zk.ErrMalformed":        "a node is not as the contract says",
	"zk.ErrTooLarge":         "does not fit into a node",
	"zk.ErrInvalidName":      "cannot be a node's name",
	"zk.ErrDuplicateID":      "from registering, when no client is there yet",
	"zk.ErrMigrating":        "from elections, which no client asks for",
	"region.ErrOtherCluster": "from joining, which no client asks for",
	"region.ErrOtherBroker":  "from a start, when no client is there yet",
	"region.ErrListeners":    "from joining, which no client asks for",
	"zk.ErrGiveUp":           "ends the client of ZooKeeper",

	"replication.ErrNoOthers": "from stopping, which no client asks for",
}

// Every error that a room exports has a line in errors.go, or a reason why not.
func TestEveryErrorHasACode(t *testing.T) {
	mapped := map[string]bool{}
	eachIdent(t, "errors.go", func(room, name string) { mapped[room+"."+name] = true })
	dirs, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, dir := range dirs {
		if !dir.IsDir() || dir.Name() == "api" || dir.Name() == "server" { // server's are for its handlers to return
			continue
		}
		for _, name := range exportedErrors(t, filepath.Join("..", dir.Name())) {
			found++
			full := dir.Name() + "." + name
			if !mapped[full] && never[full] == "" {
				t.Errorf("%s has no line in errors.go", full)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d exported errors were found; the test looks in the wrong place", found)
	}
}

// eachIdent calls yield for each pkg.Name in the file.
func eachIdent(t *testing.T, path string, yield func(pkg, name string)) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				yield(pkg.Name, sel.Sel.Name)
			}
		}
		return true
	})
}

// exportedErrors lists the package variables named Err… in a room's sources.
func exportedErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// An error that nobody foresaw is answered as such, and logged.
func TestUnforeseenError(t *testing.T) {
	b := newBox(t)
	if got := b.api.code(os.ErrPermission); got != wire.UnknownServerError {
		t.Errorf("code %v, want %v", got, wire.UnknownServerError)
	}
	if !strings.Contains(b.log.String(), "permission denied") {
		t.Errorf("log %q does not name it", b.log)
	}
}
