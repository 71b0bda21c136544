package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headwater/headwater/broker/topic"
)

// kind is what a setting's value is: how it is read from what users write, and
// written so that reading it gives the same. An error of parse goes on from the
// text in quotes: it says what that is not and what is allowed.
type kind[T any] struct {
	parse  func(text string) (T, error)
	format func(T) string
	node   func(T) *yaml.Node // of a list, in the form that is best read; nil for a single value
}

// anyText is text of which nothing is asked here.
func anyText() kind[string] {
	return kind[string]{
		parse:  func(s string) (string, error) { return s, nil },
		format: func(s string) string { return s },
	}
}

// text is anything but nothing.
func text() kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			if strings.TrimSpace(s) == "" || strings.ContainsRune(s, 0) {
				return "", errors.New("is empty; allowed is the path of a directory")
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

// brokerID is a broker's id, or the word for having one given.
func brokerID() kind[int32] {
	const auto = "auto"
	ids := whole[int32](0, 1<<31-1)
	return kind[int32]{
		parse: func(s string) (int32, error) {
			if s == auto {
				return BrokerIDAuto, nil
			}
			id, err := ids.parse(s)
			if err != nil {
				return 0, fmt.Errorf("%w, or %s", err, auto)
			}
			return id, nil
		},
		format: func(id int32) string {
			if id == BrokerIDAuto {
				return auto
			}
			return ids.format(id)
		},
	}
}

// name is a word of letters, digits, '_' and '-'.
func name() kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			for _, c := range s {
				if !(c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
					return "", errors.New("is not allowed; allowed are letters, digits, _ and -")
				}
			}
			if s == "" {
				return "", errors.New("is empty; allowed is a name")
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

// oneOf is one of a few words.
func oneOf(words ...string) kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			if !slices.Contains(words, s) {
				return "", fmt.Errorf("is not allowed; allowed is %s", orList(words))
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func boolean() kind[bool] {
	return kind[bool]{
		parse: func(s string) (bool, error) {
			switch s {
			case "true":
				return true, nil
			case "false":
				return false, nil
			}
			return false, errors.New("is neither true nor false; allowed is one of these")
		},
		format: strconv.FormatBool,
	}
}

// whole is a whole number from low to high, both allowed.
func whole[T int | int16 | int32](low, high T) kind[T] {
	return kind[T]{
		parse: func(s string) (T, error) {
			n, ok := decimal(s)
			if !ok || n < int64(low) || n > int64(high) {
				return 0, fmt.Errorf("is not allowed; allowed is a whole number from %d to %d", low, high)
			}
			return T(n), nil
		},
		format: func(n T) string { return strconv.FormatInt(int64(n), 10) },
	}
}

// word is a value that users write as a word instead of a number with a unit.
type word[T any] struct {
	text  string
	value T
}

// size is a number of bytes from low to high, both allowed, or one of words.
func size(low, high int64, words ...word[int64]) kind[int64] {
	between := fmt.Sprintf("from %s to %s", FormatBytes(low), FormatBytes(high))
	return withWords(ParseBytes, FormatBytes, low, high, between, words)
}

// duration is one from low to high, both allowed, or one of words.
func duration(low, high time.Duration, words ...word[time.Duration]) kind[time.Duration] {
	between := fmt.Sprintf("from %s to %s", FormatDuration(low), FormatDuration(high))
	return withWords(ParseDuration, FormatDuration, low, high, between, words)
}

func withWords[T ~int64](parse func(string) (T, error), format func(T) string, low, high T, between string, words []word[T]) kind[T] {
	for _, w := range words {
		between += ", or " + w.text
	}
	return kind[T]{
		parse: func(s string) (T, error) {
			for _, w := range words {
				if s == w.text {
					return w.value, nil
				}
			}
			v, err := parse(s)
			if err == nil && (v < low || v > high) {
				err = fmt.Errorf("is out of range; allowed is %s", between)
			}
			return v, err
		},
		format: func(v T) string {
			for _, w := range words {
				if v == w.value {
					return w.text
				}
			}
			return format(v)
		},
	}
}

// fullPolicy is a topic.FullPolicy.
func fullPolicy() kind[topic.FullPolicy] {
	words := oneOf(topic.DropOldest.String(), topic.Reject.String())
	return kind[topic.FullPolicy]{
		parse: func(s string) (topic.FullPolicy, error) {
			if _, err := words.parse(s); err != nil {
				return 0, err
			}
			return topic.ParseFullPolicy(s)
		},
		format: topic.FullPolicy.String,
	}
}

// cleanupPolicy is a topic.CleanupPolicy.
func cleanupPolicy() kind[topic.CleanupPolicy] {
	return kind[topic.CleanupPolicy]{
		parse: func(s string) (topic.CleanupPolicy, error) {
			policy, err := topic.ParseCleanupPolicy(s)
			if err != nil {
				return 0, errors.New("is not allowed; allowed is delete, compact or compact,delete")
			}
			return policy, nil
		},
		format: topic.CleanupPolicy.String,
	}
}

// share is a number from 0 to 1.
func share() kind[float64] {
	return kind[float64]{
		parse: func(s string) (float64, error) {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || !(f >= 0 && f <= 1) { // not a number is neither
				return 0, errors.New("is not allowed; allowed is a number from 0 to 1")
			}
			return f, nil
		},
		format: func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) },
	}
}

// never is an age that does not come.
var never = word[time.Duration]{"never", topic.Forever}

// keep is how Kafka's users say that nothing is to be removed.
var (
	keepBytes = word[int64]{"-1", -1}
	keepAge   = word[time.Duration]{"-1", topic.Forever}
)

// listenAddress is a host and a port to listen on; port 0 takes a free one.
func listenAddress() kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			if _, port, err := splitAddress(s); err != nil || port < 0 {
				return "", errors.New("is not an address; allowed is host:port with a port from 0 to 65535, such as 127.0.0.1:9092 or :9092")
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

// optionalListen is a listenAddress, or nothing.
func optionalListen() kind[string] {
	some := listenAddress()
	return kind[string]{
		parse: func(s string) (string, error) {
			if s == "" {
				return "", nil
			}
			return some.parse(s)
		},
		format: some.format,
	}
}

// path is that of a file, or nothing.
func path() kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			if strings.ContainsRune(s, 0) {
				return "", errors.New("is not a path; allowed is that of a file")
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

// dialAddress is a host and a port that others dial, or nothing.
func dialAddress() kind[string] {
	return kind[string]{
		parse: func(s string) (string, error) {
			if s == "" {
				return "", nil
			}
			host, port, err := splitAddress(s)
			if err != nil || port < 1 || wildcard(host) {
				return "", errors.New("is not an address that clients can dial; allowed is host:port, such as gateway.local:9092")
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

func splitAddress(s string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, ok := decimal(digits)
	if !ok || n > 65535 || strings.ContainsAny(host, " /") {
		return "", 0, errors.New("bad port or host")
	}
	return host, int(n), nil
}

// wildcard reports whether host stands for every address of the machine.
func wildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
