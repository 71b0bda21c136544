// Package topic knows what a topic is called, how it is identified and which
// settings it has. Pure values: no I/O, no goroutines.
package topic

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalidName is wrapped by what ValidateName returns.
	ErrInvalidName = errors.New("invalid topic name")
	// ErrInternal is for who would write to, make or delete a topic that the broker
	// keeps for itself.
	ErrInternal = errors.New("the topic is the broker's own")
)

// maxNameLen is Kafka's, so that "<topic>-<partition>" fits a file name.
const maxNameLen = 249

// ValidateName holds name against Kafka's rule: 1 to 249 of ASCII letters,
// digits, '.', '_' and '-', and neither "." nor "..".
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrInvalidName, name)
	case len(name) > maxNameLen:
		return fmt.Errorf("%w: %d characters, at most %d are allowed", ErrInvalidName, len(name), maxNameLen)
	}
	for _, c := range []byte(name) {
		if !nameByte(c) {
			return fmt.Errorf("%w: %.60q has a character other than ASCII letters, digits, '.', '_' and '-'", ErrInvalidName, name)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// Internal reports whether name is one of the topics that the broker keeps for
// itself.
func Internal(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state" || name == MQTTState
}

// MQTTState is the topic in which the sessions of MQTT clients and retained messages
// are kept.
const MQTTState = "__mqtt_state"

// InternalOverrides are the settings of such a topic: of each key the last record
// stays, and nothing of it goes by size or age, also when the box is full, for it is
// not readings but what the broker knows. The segments are small, since only closed
// ones are ever compacted.
func InternalOverrides() map[string]string {
	return map[string]string{
		"cleanup.policy":  Compact.String(),
		"headwater.full":  Reject.String(),
		"retention.bytes": "-1",
		"retention.ms":    "-1",
		"segment.bytes":   "4194304",
	}
}
