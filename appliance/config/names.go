package config

import (
	"fmt"
	"slices"
	"strings"
)

// find returns the setting called name.
func find(name string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

// isSection reports whether settings stand below name.
func isSection(name string) bool { return firstOf(name) != "" }

// firstOf returns the first setting below section, "" when there is none.
func firstOf(section string) string {
	for _, k := range keys {
		if strings.HasPrefix(k.name, section+".") {
			return k.name
		}
	}
	return ""
}

// unknown is the complaint about a name, with the setting that was perhaps meant.
func unknown(name string) string {
	if k, ok := nearest(name); ok {
		return fmt.Sprintf("is not a setting; did you mean %s?", k.name)
	}
	return notASetting
}

const notASetting = "is not a setting; allowed are those that headwater serve --help lists"

// nearest returns the setting whose name differs least from name, if it is near
// at all. Case, dots, dashes and underscores do not count.
func nearest(name string) (best key, ok bool) {
	const near = 2 // letters that may differ
	name = letters(name)
	if len(name) > 100 {
		return key{}, false
	}
	least := near + 1
	for _, k := range keys {
		if d := distance(name, letters(k.name)); d < least {
			best, least = k, d
		}
	}
	return best, least <= near
}

func letters(name string) string {
	return strings.NewReplacer(".", "", "-", "", "_", "").Replace(strings.ToLower(name))
}

// distance is how many bytes must be put in, taken out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of a's first i bytes to b's first j
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
