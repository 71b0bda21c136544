package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ask sends one request to a broker, on a connection of its own, and reads the
// answer into resp.
func ask(ctx context.Context, address string, req kmsg.Request, resp kmsg.Response) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, 0)
	if _, err := nc.Write(frame); err != nil {
		return err
	}
	c := conn{nc: nc, r: bufio.NewReader(nc)}
	body, err := c.readAnswer()
	if err != nil {
		return err
	}
	resp.SetVersion(req.GetVersion())
	return resp.ReadFrom(body)
}

// createTopic makes a topic for w. Its retention bounds what a long pass leaves on
// the disk, to what comes between two looks of the broker's; a topic to fetch from
// keeps all.
func createTopic(ctx context.Context, address, name string, w Workload) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, int32(w.Partitions), 1
	retention := "-1"
	if w.Kind != Fetch {
		retention = strconv.Itoa(4 * w.SegmentBytes)
	}
	for key, value := range map[string]string{"segment.bytes": strconv.Itoa(w.SegmentBytes), "retention.bytes": retention} {
		setting := kmsg.NewCreateTopicsRequestTopicConfig()
		setting.Name, setting.Value = key, &value
		t.Configs = append(t.Configs, setting)
	}
	req, resp := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewPtrCreateTopicsResponse()
	req.Version, req.TimeoutMillis = 1, int32(answerTimeout.Milliseconds())
	req.Topics = append(req.Topics, t)
	if err := ask(ctx, address, req, resp); err != nil {
		return fmt.Errorf("make topic %s: %w", name, err)
	}
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0 {
		return fmt.Errorf("make topic %s: %w: %+v", name, errRefused, resp.Topics)
	}
	return nil
}

var errRefused = errors.New("the broker refuses")

func deleteTopic(ctx context.Context, address, name string) error {
	req, resp := kmsg.NewPtrDeleteTopicsRequest(), kmsg.NewPtrDeleteTopicsResponse()
	req.Version, req.TimeoutMillis = 1, int32(answerTimeout.Milliseconds())
	req.TopicNames = []string{name}
	if err := ask(ctx, address, req, resp); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0 {
		return fmt.Errorf("delete topic %s: %w: %+v", name, errRefused, resp.Topics)
	}
	return nil
}
