package access

import (
	"errors"
	"fmt"
	"strings"

	"github.com/headwater/headwater/bridge/subject"
)

type pattern = subject.Pattern

// subjects are what one may do, and in it what one may not.
type subjects struct{ allow, deny []pattern }

func parseSubjects(list []string) (s subjects, err error) {
	if len(list) > maxSubjects {
		return s, fmt.Errorf("there are %d subjects, at most %d are allowed", len(list), maxSubjects)
	}
	var errs []error
	for _, text := range list {
		denied, isDenied := strings.CutPrefix(text, "!")
		p, err := parsePattern(denied)
		switch {
		case err != nil:
			errs = append(errs, err)
		case isDenied:
			s.deny = append(s.deny, p)
		default:
			s.allow = append(s.allow, p)
		}
	}
	return s, joined(errs)
}

// joined is one error with all of them, on one line.
func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

func parsePattern(s string) (pattern, error) {
	if len(s) > maxSubject {
		return "", fmt.Errorf("a subject has %d bytes, at most %d are allowed", len(s), maxSubject)
	}
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		switch {
		case token == "":
			return "", fmt.Errorf("%q has an empty token", s)
		case token == ">" && i != len(tokens)-1:
			return "", fmt.Errorf("%q: > can only be the last token", s)
		case token != "*" && token != ">" && strings.ContainsAny(token, "*>"):
			return "", fmt.Errorf("%q: * and > stand alone in a token", s)
		case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return "", fmt.Errorf("%q has a space or a control character", s)
		}
	}
	return pattern(s), nil
}
