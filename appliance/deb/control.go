package deb

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Control is what a package says of itself. Fields that are empty are left out.
type Control struct {
	Name         string
	Version      string // as Version makes it
	Architecture string
	Maintainer   string
	Depends      string
	Provides     string
	Conflicts    string
	Replaces     string
	Section      string
	Homepage     string
	Summary      string // one line
	Description  string // lines below it
}

var (
	debianName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	debianVersion = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~]*$`)
	debianArch    = regexp.MustCompile(`^[a-z0-9]+$`)
	debianPerson  = regexp.MustCompile(`^[^<>\n]+ <[^<>\n ]+@[^<>\n ]+>$`)
)

func (c Control) check() error {
	var err error
	for _, must := range []struct {
		ok         bool
		what, text string
	}{
		{debianName.MatchString(c.Name), "name", c.Name},
		{debianVersion.MatchString(c.Version), "version", c.Version},
		{debianArch.MatchString(c.Architecture), "architecture", c.Architecture},
		{debianPerson.MatchString(c.Maintainer), "maintainer", c.Maintainer},
		{c.Summary != "" && !strings.Contains(c.Summary, "\n"), "summary", c.Summary},
	} {
		if !must.ok {
			err = errors.Join(err, fmt.Errorf("%.60q is no %s that Debian knows", must.text, must.what))
		}
	}
	return err
}

func (c Control) text(installedKiB int64) []byte {
	var b strings.Builder
	for _, field := range []struct{ name, value string }{
		{"Package", c.Name},
		{"Version", c.Version},
		{"Architecture", c.Architecture},
		{"Maintainer", c.Maintainer},
		{"Installed-Size", fmt.Sprint(installedKiB)},
		{"Depends", c.Depends},
		{"Provides", c.Provides},
		{"Conflicts", c.Conflicts},
		{"Replaces", c.Replaces},
		{"Section", c.Section},
		{"Priority", "optional"},
		{"Homepage", c.Homepage},
		{"Description", c.Summary},
	} {
		if field.value != "" {
			fmt.Fprintf(&b, "%s: %s\n", field.name, field.value)
		}
	}
	for line := range strings.Lines(c.Description) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			line = "." // an empty line would end the paragraph
		}
		b.WriteString(" " + line + "\n")
	}
	return []byte(b.String())
}

var (
	described = regexp.MustCompile(`^(.*)-([0-9]+)-g([0-9a-f]+)$`) // tag, commits since, commit
	hash      = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
)

// Version makes a Debian version of what git describe says, such that later is newer:
// v1.2.3 is 1.2.3, v1.2.3-rc.1 is before it, v1.2.3-4-g89ab is after it, and a commit
// without a tag is before every release. A tree with changes is after its commit.
func Version(git string) string {
	git, dirty := strings.CutSuffix(git, "-dirty")
	var out string
	switch m := described.FindStringSubmatch(git); {
	case m != nil:
		out = release(m[1]) + "+" + m[2] + ".g" + m[3]
	case hash.MatchString(git):
		out = "0~g" + git
	default:
		out = release(git)
	}
	if dirty {
		out += "+dirty"
	}
	return out
}

// release is a tag's version. What Debian does not know in one becomes a dot.
func release(tag string) string {
	tag = strings.TrimPrefix(tag, "v")
	tag = strings.Replace(tag, "-", "~", 1) // a pre-release
	tag = regexp.MustCompile(`[^A-Za-z0-9.+~]`).ReplaceAllString(tag, ".")
	if tag == "" || tag[0] < '0' || tag[0] > '9' {
		return "0~" + tag
	}
	return tag
}
