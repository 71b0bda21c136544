package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// figure is a number and what it is of.
type figure struct {
	name  string
	value float64
}

type figures []figure

// table gathers figures of several rounds.
type table struct {
	loads, sides []string // in the order in which they came
	cells        map[[2]string][]figures
}

func newTable() *table { return &table{cells: map[[2]string][]figures{}} }

func (t *table) add(load, side string, f figures) {
	if !slices.Contains(t.loads, load) {
		t.loads = append(t.loads, load)
	}
	if !slices.Contains(t.sides, side) {
		t.sides = append(t.sides, side)
	}
	at := [2]string{load, side}
	t.cells[at] = append(t.cells[at], f)
}

// print prints a table for each load, with a row for each side: medians.
func (t *table) print(out io.Writer) {
	for _, load := range t.loads {
		head := true
		for _, side := range t.sides {
			rounds := t.cells[[2]string{load, side}]
			if len(rounds) == 0 {
				continue
			}
			if head {
				head = false
				var names, rules strings.Builder
				for _, f := range rounds[0] {
					fmt.Fprintf(&names, " %s |", f.name)
					rules.WriteString("---:|")
				}
				fmt.Fprintf(out, "\n%s (medians of %d)\n\n| |%s\n|---|%s\n", load, len(rounds), names.String(), rules.String())
			}
			fmt.Fprintf(out, "| %s |", side)
			for i := range rounds[0] {
				var values []float64
				for _, r := range rounds {
					values = append(values, r[i].value)
				}
				fmt.Fprintf(out, " %s |", short(median(values)))
			}
			fmt.Fprintln(out)
		}
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// short has three figures, or all before the point.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
