package pull

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// streamName is what clients call a partition: the topic with ~ for each dot, which
// no stream's name may have, a dash and the partition's number.
func streamName(topic string, partition int32) string {
	return strings.ReplaceAll(topic, ".", "~") + "-" + strconv.Itoa(int(partition))
}

// parseStream reads what streamName wrote.
func parseStream(name string) (topicName string, partition int32, ok bool) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 || strings.IndexByte(name, '.') >= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[dash+1:], 10, 32)
	topicName, partition = strings.ReplaceAll(name[:dash], "~", "."), int32(n)
	if err != nil || topic.ValidateName(topicName) != nil || streamName(topicName, partition) != name {
		return "", 0, false
	}
	return topicName, partition, true
}

// Headers that the bridge gives to records, and to messages.
const (
	headerSubject = "hw-subject" // the NATS subject that a device published on
	headerKey     = "hw-key"     // the record's key, where the subject does not end with it
)

// maxSubjectLen bounds a record's subject, well inside the line of 4 KiB that
// nats-server takes.
const maxSubjectLen = 1024

// appendSubject appends the subject that a record of the topic has for clients: the
// one that its device published on, if that is known; else the topic and the key, if
// that is one plain token; else the topic. keyShown says that the key is in it.
func appendSubject(dst []byte, topicName string, r *record.Record) (subject []byte, keyShown bool) {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == headerSubject && validSubject(h.Value) {
			return append(dst, h.Value...), false
		}
	}
	dst = append(dst, topicSubject(topicName)...)
	if !plainToken(r.Key) || len(topicName)+1+len(r.Key) > maxSubjectLen {
		return dst, false
	}
	return append(append(dst, '.'), r.Key...), true
}

// topicSubject is the topic's name as a subject. Where its dots would make an empty
// token it is written as in a stream's name.
func topicSubject(topicName string) string {
	if strings.HasPrefix(topicName, ".") || strings.HasSuffix(topicName, ".") || strings.Contains(topicName, "..") {
		return strings.ReplaceAll(topicName, ".", "~")
	}
	return topicName
}

// validSubject reports whether a message can have the subject.
func validSubject(subject []byte) bool {
	if len(subject) == 0 || len(subject) > maxSubjectLen || !utf8.Valid(subject) {
		return false
	}
	start := 0
	for i, c := range subject {
		switch {
		case c == '.':
			if i == start || wild(subject[start:i]) {
				return false
			}
			start = i + 1
		case c <= ' ' || c == 0x7f:
			return false
		}
	}
	return start < len(subject) && !wild(subject[start:])
}

func wild[T string | []byte](token T) bool {
	return len(token) == 1 && (token[0] == '*' || token[0] == '>')
}

// plainToken reports whether a key is letters, digits, dashes and underscores.
func plainToken(key []byte) bool {
	for _, c := range key {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return len(key) > 0
}
