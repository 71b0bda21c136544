package subject

import (
	"errors"
	"fmt"
	"strings"

	"github.com/headwater/headwater/broker/topic"
)

// ErrInvalidCommand is wrapped by every complaint about a Command.
var ErrInvalidCommand = errors.New("invalid command rule")

// MaxCommands bounds a list: each partition of the topics in it is watched.
const MaxCommands = 64

// Command sends a topic's records to a subject: the other way than a Rule.
type Command struct {
	Topic   string
	Subject string // {key} stands for the record's key, {topic} for the topic, with its dots
}

const (
	keyPart           = "{key}"
	topicPart         = "{topic}"
	maxCommandSubject = 1024 // bytes, well inside the line of 4 KiB that nats-server takes
)

// ValidateCommands reports everything that is wrong with commands at once, each by its
// place in the list, counted from 0.
func ValidateCommands(commands []Command) error {
	var errs []error
	if len(commands) > MaxCommands {
		return fmt.Errorf("%w: %d, at most %d are allowed", ErrInvalidCommand, len(commands), MaxCommands)
	}
	seen := map[string]int{}
	for i, r := range commands {
		complain := func(format string, v ...any) {
			errs = append(errs, fmt.Errorf("%w %d: "+format, append([]any{ErrInvalidCommand, i}, v...)...))
		}
		if err := topic.ValidateName(r.Topic); err != nil {
			complain("topic: %w", err)
		} else if topic.Internal(r.Topic) {
			complain("topic: %q is the broker's own", r.Topic)
		} else if before, ok := seen[r.Topic]; ok {
			complain("topic: the one at %d is about %s already", before, r.Topic)
		}
		seen[r.Topic] = i
		if _, ok := r.SubjectOf([]byte("key")); !ok {
			complain("subject: %.60q is no subject; allowed are tokens without * and >, {key} and {topic}, not after $ or _INBOX", r.Subject)
		}
	}
	return errors.Join(errs...)
}

// SubjectOf is where a record with the key goes; ok is false when that is no subject
// that anybody may publish on.
func (r Command) SubjectOf(key []byte) (subject string, ok bool) {
	if strings.Contains(r.Subject, keyPart) && !plain(string(key)) {
		return "", false
	}
	subject = strings.NewReplacer(keyPart, string(key), topicPart, r.Topic).Replace(r.Subject)
	return subject, len(subject) <= maxCommandSubject && plain(subject) &&
		subject[0] != '$' && subject != "_INBOX" && !strings.HasPrefix(subject, "_INBOX.")
}

// plain reports whether s is one token or more, none of them empty or a wildcard.
func plain(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("*>{}", r) }) {
			return false
		}
	}
	return true
}
