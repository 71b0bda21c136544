package natsd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		input string
		want  string // of each operation; "short" where more is needed, "bad" at an error
	}{
		"ping":             {"PING\r\nPONG\r\n+OK\r\n", "ping pong ok short:1"},
		"info":             {"INFO {\"a\": 1}\r\n", `info({"a": 1}) short:1`},
		"error":            {"-ERR 'Slow Consumer'\r\n", "err('Slow Consumer') short:1"},
		"message":          {"MSG a.b 0 5\r\nhello\r\n", "msg(0 a.b <> <> hello) short:1"},
		"reply":            {"MSG a.b 1 in.box 0\r\n\r\nPING\r\n", "msg(1 a.b <in.box> <> ) ping short:1"},
		"headers":          {"HMSG a 0 3 5\r\nNNNhi\r\n", "msg(0 a <> <NNN> hi) short:1"},
		"headersAndReply":  {"HMSG a 0 r 3 3\r\nNNN\r\n", "msg(0 a <r> <NNN> ) short:1"},
		"blanks":           {"MSG  a\t0  2\r\nhi\r\n", "msg(0 a <> <> hi) short:1"},
		"payloadHasLines":  {"MSG a 0 8\r\n\r\nPING\r\n\r\n", "msg(0 a <> <> \r\nPING\r\n) short:1"},
		"cutInLine":        {"MSG a 0", "short:8"},
		"cutInPayload":     {"MSG a 0 5\r\nhel", "short:18"},
		"cutBeforeEnd":     {"MSG a 0 5\r\nhello\r", "short:18"},
		"unknown":          {"HELLO\r\n", "bad"},
		"lowerCase":        {"ping\r\n", "bad"},
		"noSize":           {"MSG a 0\r\n", "bad"},
		"manyFields":       {"MSG a 0 r 1 2\r\n", "bad"},
		"tooManyFields":    {"HMSG a 0 r 1 2 3 4 5\r\n", "bad"},
		"negativeSize":     {"MSG a 0 -1\r\n", "bad"},
		"largeSize":        {"MSG a 0 1001\r\n", "bad"},
		"largestSize":      {"MSG a 0 1000\r\n", "short:1016"},
		"hugeSize":         {"MSG a 0 99999999999999999999\r\n", "bad"},
		"wrapsAround":      {"MSG a 0 4294967297\r\n", "bad"},
		"headersOutside":   {"HMSG a 0 6 5\r\n", "bad"},
		"unknownSid":       {"MSG a 2 0\r\n\r\n", "bad"},
		"wrongEnd":         {"MSG a 0 2\r\nhello\r\n", "bad"},
		"longLine":         {strings.Repeat("x", maxLine), "bad"},
		"longestSoFar":     {strings.Repeat("x", maxLine-1), fmt.Sprintf("short:%d", maxLine)},
		"longLineWithMore": {strings.Repeat("x", maxLine) + "\r\nPING\r\n", "bad"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseAll([]byte(tc.input)); got != tc.want {
				t.Errorf("got %q\nwant %q", got, tc.want)
			}
		})
	}
}

func parseAll(buf []byte) string {
	p := parser{maxPayload: 1000, subscriptions: 2}
	var got []string
	for {
		op, taken, err := p.next(buf)
		if err != nil {
			return strings.Join(append(got, "bad"), " ")
		}
		if taken == 0 {
			return strings.Join(append(got, fmt.Sprintf("short:%d", p.need)), " ")
		}
		buf = buf[taken:]
		m := p.message
		got = append(got, map[operation]string{
			opMessage: fmt.Sprintf("msg(%d %s <%s> <%s> %s)", m.Rule, m.Subject, m.Reply, m.Headers, m.Payload),
			opPing:    "ping", opPong: "pong", opOK: "ok",
			opInfo: fmt.Sprintf("info(%s)", p.text), opError: fmt.Sprintf("err(%s)", p.text),
		}[op])
	}
}

// Whatever the bytes, the parser does not panic, asks for no more memory than a
// line and the largest message take, and reads the same wherever the input is cut.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"INFO {}\r\nPING\r\n", "MSG a.b 0 5\r\nhello\r\n", "HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "-ERR 'x'\r\n",
		"MSG a 0 1000000000\r\n", "MSG a 0 999999999\r\n", "MSG a 0 -1\r\n", "\r\n", "MSG\r\n", "HMSG a 0 r 3 2\r\n",
	} {
		f.Add([]byte(s), uint16(3))
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint16) {
		const maxPayload = 1000
		p := parser{maxPayload: maxPayload, subscriptions: 2}
		op, taken, err := p.next(input)
		if err != nil {
			if !errors.Is(err, ErrProtocol) || op != 0 || taken != 0 {
				t.Fatalf("operation %d of %d bytes with %v", op, taken, err)
			}
			return
		}
		if taken == 0 {
			if p.need <= len(input) || p.need > maxLine+maxPayload+2 {
				t.Fatalf("needs %d bytes, has %d", p.need, len(input))
			}
			return
		}
		if taken > len(input) {
			t.Fatalf("took %d of %d bytes", taken, len(input))
		}
		m := p.message
		if op == opMessage && (len(m.Headers)+len(m.Payload) > maxPayload || m.Rule < 0 || m.Rule > 1 || bytes.ContainsAny(m.Subject, " \n")) {
			t.Fatalf("message %+v", m)
		}
		early := parser{maxPayload: maxPayload, subscriptions: 2}
		n := int(cut) % taken
		if _, got, err := early.next(input[:n]); got != 0 || err != nil || early.need <= n || early.need > taken {
			t.Fatalf("of the first %d bytes of %d: took %d, needs %d, %v", n, taken, got, early.need, err)
		}
	})
}
