package subject

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxHeaders       = 16  // of one rule
	maxHeaderNameLen = 128 // bytes
)

// HeaderRule is a header that a rule gives to its records.
type HeaderRule struct {
	Name  string
	Value string // a template
}

// Header is one that a route gives to a record.
type Header struct {
	Name  string
	Value []byte // valid until the route is used again
}

// header is a HeaderRule taken apart.
type header struct {
	name  string
	value template
}

// reservedHeaders begin the names that rules may not give: headwater's own, and
// those that NATS gives a meaning.
var reservedHeaders = []string{"hw-", "Nats-"}

// compileHeaders takes rules apart, for the subjects of p, and returns everything
// that is wrong with them.
func compileHeaders(rules []HeaderRule, p splitPattern) (headers []header, errs []error) {
	if len(rules) > maxHeaders {
		return nil, []error{fmt.Errorf("headers: %d, at most %d are allowed", len(rules), maxHeaders)}
	}
	for _, r := range rules {
		h := header{name: r.Name}
		err := checkHeaderName(r.Name)
		if err == nil && named(headers, r.Name) {
			err = errors.New("the name stands there twice; names that differ in case alone are the same")
		}
		if err == nil {
			h.value, err = parseTemplate(r.Value)
		}
		if err == nil {
			err = errors.Join(h.value.fit(p), checkHeaderText(h.value))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("header %.60q: %w", r.Name, err))
		}
		headers = append(headers, h)
	}
	return headers, errs
}

// checkHeaderName holds name against what NATS and HTTP take for a header's name.
func checkHeaderName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxHeaderNameLen:
		return fmt.Errorf("the name has %d bytes, at most %d are allowed", len(name), maxHeaderNameLen)
	case strings.ContainsFunc(name, func(r rune) bool { return !headerRune(r) }):
		return errors.New("the name has a character other than letters, digits and !#$%&'*+-.^_`|~")
	}
	for _, prefix := range reservedHeaders {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return fmt.Errorf("names that begin with %s are taken", prefix)
		}
	}
	return nil
}

// headerRune reports whether r may stand in a name: a tchar of RFC 9110.
func headerRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// checkHeaderText refuses what would end a header's line where headers are lines.
func checkHeaderText(t template) error {
	for _, part := range t {
		if strings.ContainsFunc(part.text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("the value has a control character")
		}
	}
	return nil
}

// named reports whether one of headers is called name, in any case of letters.
func named(headers []header, name string) bool {
	for i := range headers {
		if strings.EqualFold(headers[i].name, name) {
			return true
		}
	}
	return false
}

// expandHeaders sets r.Headers for subject. Their values share one memory.
func (r *Route) expandHeaders(headers []header, subject []byte) {
	r.values = r.values[:0]
	for i := range headers {
		start := len(r.values)
		r.values = headers[i].value.expand(r.values, subject, r.tokens)
		r.Headers = append(r.Headers, Header{headers[i].name, r.values[start:len(r.values):len(r.values)]})
	}
}

// Names reports whether the rule gives a header of this name, in any case of
// letters.
func (r *Route) Names(name string) bool {
	return r.rule != nil && named(r.rule.headers, name)
}
