package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with the settings, as one sentence.
type Problem struct {
	Key    string // as users write it
	Origin string // where the value came from: "file x.yaml line 3", "environment HEADWATER_…", "flag --…"; "" when it was set by no one
	Text   string // what is wrong, and what is allowed
}

func (p Problem) String() string {
	if p.Origin == "" {
		return fmt.Sprintf("%s: %s", p.Key, p.Text)
	}
	return fmt.Sprintf("%s (%s): %s", p.Key, p.Origin, p.Text)
}

// Problems is everything that is wrong, and the error that Load and Validate
// return.
type Problems []Problem

// Error puts one problem on a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}
