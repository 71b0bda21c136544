package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/headwater/headwater/bridge/subject"
)

// flagsOf parses args as serve would.
func flagsOf(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

// fileOf writes text as a settings file, and makes its directory the current one
// so that sentences name it as "headwater.yaml".
func fileOf(t *testing.T, text string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("headwater.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "headwater.yaml"
}

// Nothing said gives the defaults, and the defaults are valid.
func TestDefaults(t *testing.T) {
	c, err := Load("", nil, nil)
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("loaded %+v, %v\nwant the defaults, %+v", c, err, Default())
	}
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are wrong: %v", err)
	}
}

// The file that people copy says what the defaults are, and names every setting.
func TestDocumentedFileIsTheDefaults(t *testing.T) {
	path := filepath.Join("..", "..", "configs", "headwater.yaml")
	c, err := Load(path, nil, nil)
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("%s holds %+v, %v\nwant the defaults, %+v", path, c, err, Default())
	}
	named := fromFile(path).origins
	for _, k := range keys {
		// kafka.advertise is empty by default, and still has to stand there.
		if named[k.name] == "" {
			t.Errorf("%s does not name %s", path, k.name)
		}
	}
}

// The files that hubs and gateways are set up from can be used as they are, and agree
// where all brokers of a region must.
func TestFilesOfARegion(t *testing.T) {
	var files [2]Config
	for i, role := range []string{RoleHub, RoleGateway} {
		path := filepath.Join("..", "..", "configs", role+".yaml")
		c, err := Load(path, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if c.Region.Role != role || c.Region.ZooKeeper == "" || c.Kafka.Advertise == "" {
			t.Errorf("%s: role %q with ZooKeeper at %q, told to clients as %q; want %s, and both addresses", path, c.Region.Role, c.Region.ZooKeeper, c.Kafka.Advertise, role)
		}
		files[i] = c
	}
	type common struct {
		zookeeper, listener string
		offsetsPartitions   int32
		offsetsReplicas     int16
	}
	of := func(c Config) common {
		return common{c.Region.ZooKeeper, c.Region.Listener, c.Groups.OffsetsPartitions, c.Region.OffsetsReplicas}
	}
	if hub, gateway := of(files[0]), of(files[1]); hub != gateway {
		t.Errorf("a hub has %+v, a gateway %+v; want the same", hub, gateway)
	}
}

// Each source lies over those before it, key by key.
func TestOrderOfSources(t *testing.T) {
	file := fileOf(t, `
data: {dir: file, syncInterval: 2s}
kafka.autoCreateTopics: false
nats:
  listen: 127.0.0.1:1
admin:
`)
	environ := []string{
		"HEADWATER_DATA_DIR=env",
		"HEADWATER_NATS_LISTEN=127.0.0.1:2",
		"HEADWATER_KAFKA_ADVERTISE=gateway:9092",
		"HEADWATER_LOG_LEVEL=", // counts as not set
		"DATA_DIR=elsewhere",
	}
	flags := flagsOf(t, "--nats.listen=127.0.0.1:3", "--topics.retention", "7d")
	c, err := Load(file, flags, environ)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Data.Dir = "env"
	want.Data.SyncInterval = 2 * time.Second
	want.Kafka.AutoCreateTopics = false
	want.Kafka.Advertise = "gateway:9092"
	want.NATS.Listen = "127.0.0.1:3"
	want.Topics.Retention = 7 * 24 * time.Hour
	if !reflect.DeepEqual(c, want) {
		t.Errorf("loaded %+v\nwant   %+v", c, want)
	}
}

func TestRulesFromEverySource(t *testing.T) {
	want := []subject.Rule{{Subject: "plant.*.>", Topic: "plant", Key: "{2}", Partition: subject.ByKey}, {
		Subject: ">", Topic: "rest", Partition: "3", Headers: []subject.HeaderRule{{Name: "Site", Value: "north"}, {Name: "All", Value: "{>}"}},
		Linger: 50 * time.Millisecond, Compression: "lz4", MaxMessageBytes: 64 << 10,
	}}
	file := fileOf(t, `
bridge:
  rules:
    - {subject: plant.*.>, topic: plant, key: "{2}", partition: key}
    - subject: ">"
      topic: rest
      key: null
      partition: 3
      headers:
        Site: north
        All: "{>}"
      linger: 50ms
      compression: lz4
      maxMessageBytes: 64KiB
`)
	text := `[{"subject": "plant.*.>", "topic": "plant", "key": "{2}", "partition": "key"}, {"subject": ">", "topic": "rest", "partition": 3, "headers": {"Site": "north", "All": "{>}"}, "linger": "50ms", "compression": "lz4", "maxMessageBytes": 65536}]`
	for name, load := range map[string]func() (Config, error){
		"file":        func() (Config, error) { return Load(file, nil, nil) },
		"environment": func() (Config, error) { return Load("", nil, []string{"HEADWATER_BRIDGE_RULES=" + text}) },
		"flag":        func() (Config, error) { return Load("", flagsOf(t, "--bridge.rules="+text), nil) },
	} {
		c, err := load()
		if err != nil || !reflect.DeepEqual(c.Bridge.Rules, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, c.Bridge.Rules, err, want)
		}
	}
}

// Each thing that can be wrong is one sentence that names the setting, where its
// value came from and what is allowed.
func TestSentences(t *testing.T) {
	for name, tc := range map[string]struct {
		file    string
		environ string
		flag    string
		want    string
	}{
		"unknownInFile": {
			file: "kafka:\n  lisen: 127.0.0.1:1",
			want: "kafka.lisen (file headwater.yaml line 2): is not a setting; did you mean kafka.listen?",
		},
		"unknownCase": {
			file: "kafka: {auto_create_topics: true}",
			want: "kafka.auto_create_topics (file headwater.yaml line 1): is not a setting; did you mean kafka.autoCreateTopics?",
		},
		"unknownSection": {
			file: "zookeeper: {connect: x}",
			want: "zookeeper (file headwater.yaml line 1): is not a setting; allowed are those that headwater serve --help lists",
		},
		"unknownVariable": {
			environ: "HEADWATER_KAFKA_LISTENS=127.0.0.1:1",
			want:    "HEADWATER_KAFKA_LISTENS (environment): is not a setting's variable; did you mean HEADWATER_KAFKA_LISTEN?",
		},
		"unknownVariableFarOff": {
			environ: "HEADWATER_COLOUR=blue",
			want:    "HEADWATER_COLOUR (environment): is not a setting's variable; allowed is HEADWATER_ and a setting's name, such as HEADWATER_DATA_DIR for data.dir",
		},
		"sectionIsNoSetting": {
			file: "data: ./data",
			want: "data (file headwater.yaml line 1): is no setting by itself; allowed are settings below it, such as data.dir",
		},
		"mappingForOneValue": {
			file: "data: {dir: {a: b}}",
			want: "data.dir (file headwater.yaml line 1): holds a list or a mapping; allowed is one value",
		},
		"twice": {
			file: "data.dir: a\ndata: {dir: b}",
			want: "data.dir (file headwater.yaml line 2): stands there twice; allowed is once",
		},
		"notYAML": {
			file: "data: [",
			want: "headwater.yaml: is not YAML: line 1: did not find expected node content",
		},
		"noMapping": {
			file: "- data",
			want: "headwater.yaml: holds no settings; wanted are lines such as data: {dir: ./data}",
		},
		"noUnit": {
			environ: "HEADWATER_DATA_SYNC_INTERVAL=10",
			want:    `data.syncInterval (environment HEADWATER_DATA_SYNC_INTERVAL): "10" is not a duration; allowed is a number with a unit, such as 500ms, 10s, 5m, 168h or 7d`,
		},
		"badUnit": {
			flag: "--topics.segmentBytes=16Mb",
			want: `topics.segmentBytes (flag --topics.segmentBytes): "16Mb" is not a size; allowed is a whole number of bytes, or one with KiB, MiB, GiB, TiB, KB, MB, GB or TB behind it`,
		},
		"sizeOutOfRange": {
			flag: "--topics.segmentBytes=1KiB",
			want: `topics.segmentBytes (flag --topics.segmentBytes): "1KiB" is out of range; allowed is from 1MiB to 1GiB`,
		},
		"sizeOrWord": {
			flag: "--memory.limit=1MiB",
			want: `memory.limit (flag --memory.limit): "1MiB" is out of range; allowed is from 32MiB to 1024TiB, or auto, or none`,
		},
		"durationOutOfRange": {
			flag: "--data.syncInterval=2h",
			want: `data.syncInterval (flag --data.syncInterval): "2h" is out of range; allowed is from 1ms to 1h`,
		},
		"word": {
			environ: "HEADWATER_DATA_DURABILITY=always",
			want:    `data.durability (environment HEADWATER_DATA_DURABILITY): "always" is not allowed; allowed is sync, interval or os`,
		},
		"emptyDirectory": {
			flag: "--data.dir=",
			want: `data.dir (flag --data.dir): "" is empty; allowed is the path of a directory`,
		},
		"boolean": {
			file: "kafka: {autoCreateTopics: yes}",
			want: `kafka.autoCreateTopics (file headwater.yaml line 1): "yes" is neither true nor false; allowed is one of these`,
		},
		"whole": {
			flag: "--kafka.maxConnections=many",
			want: `kafka.maxConnections (flag --kafka.maxConnections): "many" is not allowed; allowed is a whole number from 1 to 65536`,
		},
		"address": {
			flag: "--kafka.listen=9092",
			want: `kafka.listen (flag --kafka.listen): "9092" is not an address; allowed is host:port with a port from 0 to 65535, such as 127.0.0.1:9092 or :9092`,
		},
		"advertiseWildcard": {
			flag: "--kafka.advertise=0.0.0.0:9092",
			want: `kafka.advertise (flag --kafka.advertise): "0.0.0.0:9092" is not an address that clients can dial; allowed is host:port, such as gateway.local:9092`,
		},
		"rulesNoList": {
			environ: "HEADWATER_BRIDGE_RULES=telemetry.>",
			want:    `bridge.rules (environment HEADWATER_BRIDGE_RULES): "telemetry.>" is not a list of rules; allowed is one such as [{subject: "plant.*.>", topic: plant, key: "{2}"}]`,
		},
		"ruleUnknownField": {
			flag: "--bridge.rules=[{subject: a, topic: b, keys: c}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 has "keys"; did you mean key?`,
		},
		"ruleNoField": {
			flag: "--bridge.rules=[{subject: a, topic: b, color: blue}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 has "color"; allowed are subject, topic, key, partition, headers, linger, compression and maxMessageBytes`,
		},
		"ruleFieldTwice": {
			flag: "--bridge.rules=[{subject: a, topic: b, subject: c}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 has subject twice; allowed is once`,
		},
		"ruleList": {
			flag: "--bridge.rules=[{subject: a, topic: b, key: [1]}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 key: holds a list or a mapping; allowed is one value`,
		},
		"ruleHeadersText": {
			flag: "--bridge.rules=[{subject: a, topic: b, headers: Device}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 headers: is not a mapping; allowed is one of names to values, such as {Device: "{2}"}`,
		},
		"ruleHeaderNull": {
			flag: "--bridge.rules=[{subject: a, topic: b, headers: {Device: }}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 headers: "Device" has no single value; allowed is one such as "{2}"`,
		},
		"ruleHeaderName": {
			flag: "--bridge.rules=[{subject: a, topic: b, headers: {hw-device: x}}]",
			want: `bridge.rules (flag --bridge.rules): invalid subject rule 0: header "hw-device": names that begin with hw- are taken`,
		},
		"ruleLinger": {
			flag: "--bridge.rules=[{subject: a, topic: b, linger: 20}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 linger: "20" is not a duration; allowed is a number with a unit, such as 500ms, 10s, 5m, 168h or 7d`,
		},
		"ruleLingerLong": {
			flag: "--bridge.rules=[{subject: a, topic: b, linger: 1h}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 linger: "1h" is out of range; allowed is from 1ms to 1m`,
		},
		"ruleCompression": {
			flag: "--bridge.rules=[{subject: a, topic: b, compression: rar}]",
			want: `bridge.rules (flag --bridge.rules): invalid subject rule 0: compression: "rar" is not allowed; allowed is none, gzip, snappy, lz4 or zstd`,
		},
		"ruleMaxMessageBytes": {
			flag: "--bridge.rules=[{subject: a, topic: b, maxMessageBytes: 0}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 maxMessageBytes: "0" is out of range; allowed is from 1 to 2147483647`,
		},
		"rulesAtOnce": {
			flag: "--bridge.rules=[{subjet: a, topic: b, linger: x}, {subject: a, topic: b, key: c, partition: near}]",
			want: `bridge.rules (flag --bridge.rules): rule 0 has "subjet"; did you mean subject?
bridge.rules (flag --bridge.rules): rule 0 linger: "x" is not a duration; allowed is a number with a unit, such as 500ms, 10s, 5m, 168h or 7d
bridge.rules (flag --bridge.rules): invalid subject rule 0: subject: it is empty
bridge.rules (flag --bridge.rules): invalid subject rule 1: partition: "near" is neither "home" nor "key" nor a number from 0 to 99999`,
		},
		"maxTopics": {
			flag: "--bridge.maxTopics=0",
			want: `bridge.maxTopics (flag --bridge.maxTopics): "0" is not allowed; allowed is a whole number from 1 to 100000`,
		},
		"ruleNoTopic": {
			flag: "--bridge.rules=[{subject: a}]",
			want: `bridge.rules (flag --bridge.rules): invalid subject rule 0: topic: invalid topic name: it is empty`,
		},
		"rulePartition": {
			flag: "--bridge.rules=[{subject: a, topic: b, partition: near}]",
			want: `bridge.rules (flag --bridge.rules): invalid subject rule 0: partition: "near" is neither "home" nor "key" nor a number from 0 to 99999`,
		},
		"ruleNoMapping": {
			flag: "--bridge.rules=[a]",
			want: `bridge.rules (flag --bridge.rules): rule 0 is not a mapping; allowed are subject, topic, key, partition, headers, linger, compression and maxMessageBytes`,
		},
		"batchLargerThanSegment": {
			flag: "--topics.maxMessageBytes=32MiB",
			want: `topics.maxMessageBytes (flag --topics.maxMessageBytes): 32MiB is more than a segment holds; allowed is up to topics.segmentBytes, 16MiB`,
		},
		"payloadLargerThanBatch": {
			flag: "--nats.maxPayload=1MiB",
			want: `nats.maxPayload (flag --nats.maxPayload): 1MiB may not fit a record batch; allowed is up to topics.maxMessageBytes less 16KiB, 1032204`,
		},
		"rulesEmpty": {
			flag: "--bridge.rules=[]",
			want: `bridge.rules (flag --bridge.rules): "[]" holds no rule; allowed is one or more`,
		},
		"pendingSmallerThanMessages": {
			flag: "--nats.maxPending=4MiB",
			file: "nats: {maxPayload: 513KiB}",
			want: `nats.maxPending (flag --nats.maxPending): 4MiB does not hold 8 messages; allowed is from 8 times nats.maxPayload, 4104KiB`,
		},
		"bufferSmallerThanBatches": {
			flag: "--bridge.buffer=2MiB",
			want: `bridge.buffer (flag --bridge.buffer): 2MiB does not hold two record batches; allowed is from twice topics.maxMessageBytes, 2097176`,
		},
		"defaultPartitions": {
			flag: "--kafka.defaultPartitions=2000",
			want: `kafka.defaultPartitions (flag --kafka.defaultPartitions): 2000 is more than all topics may have; allowed is up to kafka.maxPartitions, 1000`,
		},
		"lags": {
			file: "topics: {maxCompactionLag: 1h}\n", flag: "--topics.minCompactionLag=2h",
			want: `topics.minCompactionLag (flag --topics.minCompactionLag): 2h is more than records may wait; allowed is up to topics.maxCompactionLag, 1h`,
		},
		"cleanupPolicy": {
			flag: "--topics.cleanupPolicy=shred",
			want: `topics.cleanupPolicy (flag --topics.cleanupPolicy): "shred" is not allowed; allowed is delete, compact or compact,delete`,
		},
		"share": {
			flag: "--topics.minCleanableDirtyRatio=NaN",
			want: `topics.minCleanableDirtyRatio (flag --topics.minCleanableDirtyRatio): "NaN" is not allowed; allowed is a number from 0 to 1`,
		},
		"offsetsPartitions": {
			flag: "--groups.offsetsPartitions=1000",
			file: "kafka: {maxPartitions: 20}",
			want: `groups.offsetsPartitions (flag --groups.offsetsPartitions): 1000 is more than all topics may have; allowed is up to kafka.maxPartitions, 20`,
		},
		"sessionTimeouts": {
			flag: "--groups.minSessionTimeout=2h",
			want: `groups.minSessionTimeout (flag --groups.minSessionTimeout): 2h leaves no session timeout to ask for; allowed is up to groups.maxSessionTimeout, 30m`,
		},
		"sameAddress": {
			flag: "--nats.listen=127.0.0.1:9092",
			want: `nats.listen (flag --nats.listen): 127.0.0.1:9092 is the address of kafka.listen; allowed is another one`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			file, flags, environ := "", flagsOf(t), []string(nil)
			if tc.file != "" {
				file = fileOf(t, tc.file)
			}
			if tc.environ != "" {
				environ = []string{tc.environ}
			}
			if tc.flag != "" {
				flags = flagsOf(t, tc.flag)
			}
			_, err := Load(file, flags, environ)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestEverythingWrongAtOnce(t *testing.T) {
	file := fileOf(t, "colour: blue\nkafka: {listen: here, maxPartitions: 0}\n")
	_, err := Load(file, flagsOf(t, "--log.level=loud"), []string{"HEADWATER_X=1", "HEADWATER_ADMIN_LISTEN=x"})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Key)
	}
	want := []string{"colour", "HEADWATER_X", "kafka.listen", "kafka.maxPartitions", "admin.listen", "log.level"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("complaints about %v\nwant %v\n%v", got, want, err)
	}
}

// A value that cannot be read is one complaint, though the default that stands in
// its place would not fit the other settings.
func TestNoComplaintAboutWhatNobodySaid(t *testing.T) {
	_, err := Load("", flagsOf(t, "--topics.maxMessageBytes=100KiB", "--nats.maxPayload=much"), nil)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Key != "nats.maxPayload" {
		t.Errorf("got %v, want one complaint, about nats.maxPayload", err)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	_, err := Load("missing.yaml", nil, nil)
	if want := "missing.yaml: cannot be read: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load(fileOf(t, strings.Repeat("#\n", maxFileBytes/2+1)), nil, nil)
	if want := "headwater.yaml: is larger than 1MiB"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// What Kubernetes and Docker put beside a service called headwater is no mistake
// of the user's.
func TestVariablesOfOrchestrators(t *testing.T) {
	environ := []string{
		"HEADWATER_SERVICE_HOST=10.0.0.1", "HEADWATER_SERVICE_PORT_KAFKA=9092", "HEADWATER_PORT=tcp://10.0.0.1:9092",
		"HEADWATER_PORT_9092_TCP_ADDR=10.0.0.1", "HEADWATER_EDGE_SERVICE_PORT=9092", "HEADWATER_EDGE_PORT_9092_TCP=tcp://10.0.0.1:9092",
	}
	if _, err := Load("", nil, environ); err != nil {
		t.Errorf("got %v, want nothing to be wrong", err)
	}
}

func TestVariableNames(t *testing.T) {
	for name, want := range map[string]string{
		"data.dir":               "HEADWATER_DATA_DIR",
		"kafka.autoCreateTopics": "HEADWATER_KAFKA_AUTO_CREATE_TOPICS",
		"topics.maxMessageBytes": "HEADWATER_TOPICS_MAX_MESSAGE_BYTES",
	} {
		k, ok := find(name)
		if got := k.variable(); !ok || got != want {
			t.Errorf("%s: variable %s, want %s", name, got, want)
		}
	}
}

// What check-config prints can be loaded again and means the same.
func TestPrintIsLoadable(t *testing.T) {
	odd := Default()
	odd.Data.Dir = `a: b # "c"`
	odd.Kafka.Listen = "[::1]:9092"
	odd.Kafka.AutoCreateTopics = false
	odd.Topics.Retention, odd.Topics.RetentionBytes = -1, -1
	odd.Bridge.Rules = []subject.Rule{{Subject: "a.*.>", Topic: "{1}"}, {Subject: ">", Topic: "b", Key: "a: {1}, \"#\"", Partition: subject.ByKey}}
	odd.Bridge.Rules[1].Headers = []subject.HeaderRule{{Name: "Z", Value: "{subject}"}, {Name: "A", Value: ""}, {Name: "n", Value: "null"}, {Name: "7", Value: "1: {{\" #"}}
	odd.Bridge.Rules[1].Linger, odd.Bridge.Rules[1].Compression, odd.Bridge.Rules[1].MaxMessageBytes = 1500*time.Millisecond, "zstd", 64<<10
	odd.Bridge.Rules[0].Partition, odd.Bridge.Rules[0].MaxMessageBytes = "12", 1001
	for name, c := range map[string]Config{"defaults": Default(), "odd": odd} {
		var b bytes.Buffer
		if err := c.Print(&b); err != nil {
			t.Fatal(err)
		}
		got, err := Load(fileOf(t, b.String()), nil, nil)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: printed\n%s\nloaded %+v, %v\nwant   %+v", name, b.String(), got, err, c)
		}
	}
}

// Validate finds what is wrong with a Config that was made without Load.
func TestValidate(t *testing.T) {
	c := Default()
	c.Data.Durability = ""
	c.Topics.SegmentBytes = -5
	c.Kafka.MaxConnections = 0
	var problems Problems
	if err := c.Validate(); !errors.As(err, &problems) || len(problems) != 4 {
		t.Errorf("got %v, want four complaints", err) // the fourth: a batch does not fit the segment
	}
}
