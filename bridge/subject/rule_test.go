package subject

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Everything wrong with a list of rules is told at once, by the rule's number.
func TestValidateTellsAllAtOnce(t *testing.T) {
	err := Validate([]Rule{
		{Subject: "a..b", Topic: "ok"},
		{Subject: "plant.*.temp", Topic: "bad topic", Key: "{4}", Partition: "near"},
		{Subject: "fine.>", Topic: "fine", Key: "{7}"},
		{Subject: "fine.x", Topic: "other"},
	})
	if !errors.Is(err, ErrInvalidRule) {
		t.Fatalf("got %v, want an error that wraps ErrInvalidRule", err)
	}
	for _, want := range []string{
		`rule 0: subject: token 2 of "a..b": it is empty`,
		`rule 1: topic: invalid topic name`,
		`rule 1: key: {4} is past the end, a subject of this rule has 3 tokens`,
		`rule 1: partition: "near" is neither`,
		`rule 3: subject: "fine.x" never gets here, rule 2 ("fine.>") takes all of it`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d complaints, want 5:\n%v", n, err)
	}
}

func TestValidateOne(t *testing.T) {
	for name, tc := range map[string]struct {
		rule Rule
		want string // part of the complaint; "" when the rule is good
	}{
		"default":            {DefaultRules()[0], ""},
		"everything":         {Rule{Subject: ">", Topic: "all"}, ""},
		"topicOfTokens":      {Rule{Subject: "p.*.>", Topic: "t-{2}.{3}"}, ""},
		"literalBesideToken": {Rule{Subject: "a.b", Topic: "{1}-{2}", Key: "k{2}k", Partition: ByKey}, ""},
		"tokenMayBeThere":    {Rule{Subject: "a.>", Topic: "t", Key: "{9}"}, ""},
		"emptySubject":       {Rule{Topic: "t"}, "subject: it is empty"},
		"openInTheMiddle":    {Rule{Subject: "a.>.b", Topic: "t"}, "> can only be the last"},
		"starInToken":        {Rule{Subject: "a.b*", Topic: "t"}, "stand alone"},
		"space":              {Rule{Subject: "a.b c", Topic: "t"}, "a space"},
		"system":             {Rule{Subject: "$SYS.>", Topic: "t"}, "can match nothing"},
		"inbox":              {Rule{Subject: "_INBOX.>", Topic: "t"}, "can match nothing"},
		"long":               {Rule{Subject: strings.Repeat("a", 1025), Topic: "t"}, "at most 1024"},
		"noTopic":            {Rule{Subject: "a"}, "topic: invalid topic name: it is empty"},
		"topicSlash":         {Rule{Subject: "a", Topic: "a/b"}, "topic: invalid topic name"},
		"topicOfDots":        {Rule{Subject: "a", Topic: ".."}, "topic: invalid topic name"},
		"literalMakesItBad":  {Rule{Subject: "plant/7.*", Topic: "x{1}"}, "topic: invalid topic name"},
		"internal":           {Rule{Subject: "a", Topic: "__consumer_offsets"}, "the broker's own"},
		"tokenZero":          {Rule{Subject: "a", Topic: "t{0}"}, "not the number of a token"},
		"tokenWord":          {Rule{Subject: "a", Topic: "t{x}"}, "not the number of a token"},
		"tokenPlus":          {Rule{Subject: "a", Topic: "t{+1}"}, "not the number of a token"},
		"tokenHuge":          {Rule{Subject: "a.>", Topic: "t{99999999999999999999}"}, "not the number of a token"},
		"openBrace":          {Rule{Subject: "a", Topic: "t", Key: "{1"}, "key: \"{1\" has a brace"},
		"closeBrace":         {Rule{Subject: "a", Topic: "t", Key: "1}"}, "has a brace"},
		"topicPastEnd":       {Rule{Subject: "a.*", Topic: "t{3}"}, "topic: {3} is past the end"},
		"byNoKey":            {Rule{Subject: "a", Topic: "t", Partition: ByKey}, "needs a key"},
		"rest":               {Rule{Subject: "a.*.>", Topic: "a-{>}", Key: "{subject}"}, ""},
		"escapes":            {Rule{Subject: "a", Topic: "t", Key: "{{1}}"}, ""},
		"oneOpenBrace":       {Rule{Subject: "a", Topic: "t", Key: "{{{"}, "has a brace without its partner"},
		"restOfNothing":      {Rule{Subject: "a.*", Topic: "t", Key: "{>}"}, "key: {>} stands for nothing"},
		"restIsNoTopic":      {Rule{Subject: "a/b.>", Topic: "{subject}"}, "topic: invalid topic name"},
		"tokenBeyondAny":     {Rule{Subject: "a.>", Topic: "t", Key: "{2049}"}, "no subject has more than 2048"},
		"manyParts":          {Rule{Subject: "a.>", Topic: "t", Key: strings.Repeat("{1}", 17)}, "17 parts, at most 16"},
		"fixedPartition":     {Rule{Subject: "a", Topic: "t", Partition: "3"}, ""},
		"partitionBeyond":    {Rule{Subject: "a", Topic: "t", Partition: "100000"}, "nor a number from 0 to 99999"},
		"partitionSigned":    {Rule{Subject: "a", Topic: "t", Partition: "-1"}, "is neither"},
		"header":             {withHeader("Device", "{2}/{>}"), ""},
		"headerNoName":       {withHeader("", "x"), "the name is empty"},
		"headerColon":        {withHeader("a:b", "x"), "a character other than"},
		"headerNotASCII":     {withHeader("größe", "x"), "a character other than"},
		"headerOurs":         {withHeader("HW-Time", "x"), "begin with hw- are taken"},
		"headerOfNATS":       {withHeader("nats-Msg-Id", "x"), "begin with Nats- are taken"},
		"headerLong":         {withHeader(strings.Repeat("n", 129), "x"), "at most 128"},
		"headerLine":         {withHeader("a", "x\r\nb: c"), "a control character"},
		"headerTemplate":     {withHeader("a", "{0}"), "header \"a\": \"{0}\" has \"{0}\", which is not the number"},
		"headerTwice":        {Rule{Subject: "a", Topic: "t", Headers: []HeaderRule{{"Unit", "C"}, {"unit", "F"}}}, "stands there twice"},
		"headersTooMany":     {Rule{Subject: "a", Topic: "t", Headers: make([]HeaderRule, 17)}, "headers: 17, at most 16"},
		"linger":             {Rule{Subject: "a", Topic: "t", Linger: time.Second}, ""},
		"lingerShort":        {Rule{Subject: "a", Topic: "t", Linger: time.Microsecond}, "linger: 1µs is out of range"},
		"lingerLong":         {Rule{Subject: "a", Topic: "t", Linger: time.Hour}, "linger: 1h0m0s is out of range"},
		"compression":        {Rule{Subject: "a", Topic: "t", Compression: "zstd"}, ""},
		"compressionUnknown": {Rule{Subject: "a", Topic: "t", Compression: "rar"}, `compression: "rar" is not allowed`},
		"maxMessageBytes":    {Rule{Subject: "a", Topic: "t", MaxMessageBytes: -1}, "maxMessageBytes: -1 is less"},
		"longKey":            {Rule{Subject: "a", Topic: "t", Key: strings.Repeat("k", 1025)}, "at most 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate([]Rule{tc.rule})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want a complaint with %q", err, tc.want)
			}
		})
	}
}

func withHeader(name, value string) Rule {
	return Rule{Subject: "a.*.>", Topic: "t", Headers: []HeaderRule{{name, value}}}
}

// A rule that gets nothing is refused also when no single rule before it takes all.
func TestValidateSeesRulesCoverTogether(t *testing.T) {
	err := Validate([]Rule{{Subject: "a.*", Topic: "t"}, {Subject: "a.*.>", Topic: "t"}, {Subject: "a.>", Topic: "t"}})
	if want := `rule 2: subject: "a.>" never gets here, rules 0 ("a.*") and 1 ("a.*.>") together take all of it`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, first := range []string{"a.*", "a.*.>", "a.b"} { // one alone leaves something
		if err := Validate([]Rule{{Subject: first, Topic: "t"}, {Subject: "a.>", Topic: "t"}}); err != nil {
			t.Errorf("behind %s: %v", first, err)
		}
	}
}

func TestValidateBoundsTheTable(t *testing.T) {
	if err := Validate(make([]Rule, MaxRules+1)); err == nil || !strings.Contains(err.Error(), "at most 256") {
		t.Errorf("got %v, want a complaint about the number of rules", err)
	}
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		p, q string
		want bool
	}{
		{"a.>", "a.b", true},
		{"a.>", "a.b.c.>", true},
		{"a.>", "a.>", true},
		{"a.>", "a", false},
		{"a.>", ">", false},
		{"a.*", "a.>", false},
		{"a.*", "a.*", true},
		{"a.*", "a.b.c", false},
		{"a.*.c", "a.b", false},
		{"*.b", "a.b", true},
		{"a.b", "*.b", false},
		{"*.*", "a.b", true},
		{">", "a", true},
		{"*.>", ">", false},
		{">", "*.>", true},
		{"*", ">", false},
	} {
		p, err1 := parsePattern(tc.p)
		q, err2 := parsePattern(tc.q)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if got := p.whole.Covers(q.whole); got != tc.want {
			t.Errorf("%q covers %q: %v, want %v", tc.p, tc.q, got, tc.want)
		}
	}
}
