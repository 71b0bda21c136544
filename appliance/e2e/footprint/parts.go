package main

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headwater/headwater/appliance/process"
)

// What a binary is made of beside the modules' code and data.
const (
	tables = "tables of functions: lines, stack maps"
	rest   = "types, strings and the rest"
)

// own is this module, and standard all that has none.
const (
	own      = "github.com/headwater/headwater"
	standard = "Go's runtime and standard library"
)

// shownParts are the largest, named one by one.
const shownParts = 10

// printParts tells what the binary for arm64 is made of.
func printParts(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "headwater-footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "headwater")
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}
	if err := process.Build(ctx, binary, env, []string{"-trimpath", "-buildvcs=false"}); err != nil {
		return err
	}
	modules, err := listModules(ctx, env)
	if err != nil {
		return err
	}
	f, err := elf.Open(binary)
	if err != nil {
		return err
	}
	defer f.Close()
	sizes, err := partsOf(f, modules)
	if err != nil {
		return err
	}
	fmt.Print(partsTable(sizes))
	return nil
}

// listModules returns the module of each package in the binary.
func listModules(ctx context.Context, env []string) (map[string]string, error) {
	root, err := process.ModuleRoot()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-tags", process.Tags, "-f",
		"{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", process.Package)
	cmd.Dir, cmd.Env, cmd.Stderr = root, append(os.Environ(), env...), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	modules := map[string]string{"main": own}
	for line := range strings.Lines(string(text)) {
		pkg, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		modules[pkg] = cmp.Or(module, standard)
	}
	return modules, nil
}

// partsOf sums what a file has of each part, in bytes, of what is left when it is stripped.
func partsOf(f *elf.File, modules map[string]string) (map[string]int64, error) {
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("symbols: %w", err)
	}
	sizes := map[string]int64{}
	for _, s := range f.Sections {
		switch {
		case !kept(s):
		case s.Name == ".gopclntab":
			sizes[tables] += int64(s.Size)
		default:
			sizes[rest] += int64(s.Size)
		}
	}
	for _, s := range symbols {
		if int(s.Section) >= len(f.Sections) || !kept(f.Sections[s.Section]) || f.Sections[s.Section].Name == ".gopclntab" {
			continue
		}
		part := modules[packageOf(s.Name)]
		if s.Name == "go:func.*" {
			part = tables
		}
		if part != "" {
			sizes[part] += int64(s.Size)
			sizes[rest] -= int64(s.Size)
		}
	}
	return sizes, nil
}

// kept reports whether strip leaves a section, and the file has its bytes.
func kept(s *elf.Section) bool { return s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS }

// packageOf returns the package of a symbol: "a.b/c" of "a.b/c.(*T).m[d/e.F]", and ""
// of what has none.
func packageOf(symbol string) string {
	name := symbol
	if end := strings.IndexAny(name, "[({ :"); end >= 0 {
		name = name[:end]
	}
	file := strings.LastIndexByte(name, '/') + 1
	dot := strings.IndexByte(name[file:], '.')
	if dot <= 0 {
		return ""
	}
	return strings.ReplaceAll(name[:file+dot], "%2e", ".")
}

// partsTable is the parts in Markdown, the largest first.
func partsTable(sizes map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(sizes), func(a, b string) int {
		return cmp.Or(cmp.Compare(sizes[b], sizes[a]), strings.Compare(a, b))
	})
	var b strings.Builder
	b.WriteString("| part | MB |\n|---|---|\n")
	var others int64
	for i, name := range names {
		if i >= shownParts {
			others += sizes[name]
			continue
		}
		fmt.Fprintf(&b, "| %s | %.2f |\n", name, megabytes(sizes[name]))
	}
	if more := len(names) - shownParts; more > 0 {
		fmt.Fprintf(&b, "| %d others | %.2f |\n", more, megabytes(others))
	}
	return b.String()
}
