package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// row is a figure.
type row struct {
	what  string
	value float64
	unit  string // MB or ms; "" for a number
}

func (r row) String() string { return figure(r.value, r.unit) }

func figure(value float64, unit string) string {
	format := "%.1f %s"
	if value >= 1000 {
		format = "%.0f %s"
	}
	return strings.TrimSpace(fmt.Sprintf(format, value, unit))
}

// limit is what a figure may be at the most. One without has none.
type limit struct {
	value float64
	unit  string
	none  bool
}

// parseLimits reads the first two columns of the table with the head "what" and "limit":
// a figure's name, and a number with its unit or "–" for none.
func parseLimits(page string) (map[string]limit, error) {
	limits := map[string]limit{}
	inside := false
	for line := range strings.Lines(page) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			inside = false
			continue
		}
		what, text := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		switch {
		case what == "what" && text == "limit":
			inside = true
		case !inside, strings.HasPrefix(what, "---"):
		case limits[what] != limit{}:
			return nil, fmt.Errorf("%q has two limits", what)
		case text == "–":
			limits[what] = limit{none: true}
		default:
			number, unit, _ := strings.Cut(text, " ")
			value, err := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64)
			if err != nil {
				return nil, fmt.Errorf("the limit of %q is %q, which is no number", what, text)
			}
			limits[what] = limit{value: value, unit: unit}
		}
	}
	if len(limits) == 0 {
		return nil, errors.New("there is no table with the columns what and limit")
	}
	return limits, nil
}

// table is the figures in Markdown, with their limits where there are some.
func table(rows []row, limits map[string]limit) string {
	var b strings.Builder
	b.WriteString("| what | limit | measured |\n|---|---|---|\n")
	for _, r := range rows {
		at := "–"
		if l, ok := limits[r.what]; ok && !l.none {
			at = strings.TrimSpace(strconv.FormatFloat(l.value, 'f', -1, 64) + " " + l.unit)
		}
		fmt.Fprintf(&b, "| %s | %s | %v |\n", r.what, at, r)
	}
	return b.String()
}

// judge complains about every figure above its limit, and about what stands on one side
// alone: a page with figures that nobody measures is no limit.
func judge(rows []row, limits map[string]limit) error {
	var err error
	measured := map[string]bool{}
	for _, r := range rows {
		measured[r.what] = true
		l, ok := limits[r.what]
		switch {
		case !ok:
			err = errors.Join(err, fmt.Errorf("%s is %v, and the page does not name it", r.what, r))
		case l.none:
		case l.unit != r.unit:
			err = errors.Join(err, fmt.Errorf("%s is %v, and its limit is in %q", r.what, r, l.unit))
		case r.value > l.value:
			err = errors.Join(err, fmt.Errorf("%s is %v; the limit is %s", r.what, r, figure(l.value, l.unit)))
		}
	}
	for what := range limits {
		if !measured[what] {
			err = errors.Join(err, fmt.Errorf("%s has a limit, and is not measured", what))
		}
	}
	return err
}
