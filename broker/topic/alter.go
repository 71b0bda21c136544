package topic

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Op is what a Change does; the numbers are those of IncrementalAlterConfigs.
type Op int8

// The operations. Those on lists are for settings whose value is one: words with
// commas between them.
const (
	OpSet      Op = 0
	OpDelete   Op = 1 // back to what the topic inherits
	OpAppend   Op = 2 // to a list, unless it is there
	OpSubtract Op = 3 // from a list
)

// Change is one step from a topic's settings to others.
type Change struct {
	Name  string
	Op    Op
	Value string // not of OpDelete
}

// Alter returns overrides as changes leave them, over the settings that the topic
// inherits; overrides itself stays as it is. What comes out is valid, or the error
// lists everything that is wrong with it and wraps ErrInvalidSetting.
func Alter(overrides map[string]string, changes []Change, inherited Settings) (map[string]string, error) {
	altered := make(map[string]string, len(overrides)+len(changes))
	maps.Copy(altered, overrides)
	var errs []error
	for _, c := range changes {
		if err := c.apply(altered, inherited); err != nil {
			errs = append(errs, err)
		}
	}
	_, err := Apply(inherited, altered)
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return altered, nil
}

// apply does one step.
func (c Change) apply(to map[string]string, inherited Settings) error {
	switch c.Op {
	case OpSet:
		to[c.Name] = c.Value
		return nil
	case OpDelete:
		delete(to, c.Name)
		return nil
	}
	d, known := find(inherited, c.Name)
	switch {
	case !known:
		return fmt.Errorf("%w: %.60q is not a setting of a topic", ErrInvalidSetting, c.Name)
	case d.Type != int8(kindList):
		return fmt.Errorf("%w: %s is not a list: nothing can be appended to it or subtracted from it", ErrInvalidSetting, c.Name)
	}
	value, set := to[c.Name]
	if !set {
		value = d.Value
	}
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
	for _, word := range strings.Split(c.Value, ",") {
		at := slices.Index(words, word)
		switch {
		case c.Op == OpAppend && at < 0:
			words = append(words, word)
		case c.Op == OpSubtract && at >= 0:
			words = slices.Delete(words, at, at+1)
		}
	}
	to[c.Name] = strings.Join(words, ",")
	return nil
}

// find describes one setting of s.
func find(s Settings, name string) (Described, bool) {
	for _, d := range s.Describe() {
		if d.Name == name {
			return d, true
		}
	}
	return Described{}, false
}

// ByBrokerKey returns the name of the topics' setting whose default is what the
// broker's setting of that name is: retention.ms for log.retention.ms.
func ByBrokerKey(brokerKey string) (name string, ok bool) {
	if brokerKey == "" {
		return "", false
	}
	for _, d := range Defaults().Describe() {
		if d.BrokerKey == brokerKey {
			return d.Name, true
		}
	}
	return "", false
}
