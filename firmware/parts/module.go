package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Dir has the go command download the module, and returns the directory that its
// files are in.
func (m Module) Dir(ctx context.Context, goCommand string) (string, error) {
	outside, err := os.MkdirTemp("", "parts") // where no go.mod is, which it would look at
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(outside)
	cmd := exec.CommandContext(ctx, goCommand, "mod", "download", "-json", m.Path+"@"+m.Version)
	cmd.Dir = outside
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	runErr := cmd.Run()
	return m.judge(out.Bytes(), said.String(), runErr)
}

// judge reads what the go command answered.
func (m Module) judge(out []byte, said string, runErr error) (string, error) {
	var answer struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(out, &answer); err != nil || runErr != nil || answer.Error != "" {
		why := strings.TrimSpace(answer.Error + " " + said)
		return "", fmt.Errorf("%w: go mod download did not get %s@%s: %s (%v); the first build needs a Go module proxy, later ones take it from the module cache", ErrPart, m.Path, m.Version, why, runErr)
	}
	if answer.Sum != m.Sum {
		return "", fmt.Errorf("%w: %s@%s has the checksum %s, and %s is pinned: it is not what this image was tested with", ErrPart, m.Path, m.Version, answer.Sum, m.Sum)
	}
	return answer.Dir, nil
}

// File reads a file of the module.
func (m Module) File(ctx context.Context, goCommand, name string) ([]byte, error) {
	dir, err := m.Dir(ctx, goCommand)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
}
