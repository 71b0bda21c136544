import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * Drives the Java client as the interop suite asks: one JSON text is its argument, JSON lines are
 * its answers. See the Go package above this directory for what each command means.
 */
public class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    private final JsonNode c;

    private Driver(JsonNode c) {
        this.c = c;
    }

    public static void main(String[] args) throws Exception {
        try {
            new Driver(JSON.readTree(args[0])).run();
        } catch (Throwable e) {
            Throwable cause = e instanceof java.util.concurrent.ExecutionException ? e.getCause() : e;
            say("error", cause.getClass().getSimpleName() + ": " + cause.getMessage());
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static synchronized void say(Object... pairs) throws Exception {
        Map<String, Object> event = new TreeMap<>();
        for (int i = 0; i < pairs.length; i += 2) event.put((String) pairs[i], pairs[i + 1]);
        System.out.println(JSON.writeValueAsString(event));
        System.out.flush();
    }

    private void run() throws Exception {
        switch (c.get("do").asText()) {
            case "version": say("version", "kafka-clients " + AppInfoParser.getVersion()); break;
            case "produce": produce(); break;
            case "read": read(); break;
            case "group": group(); break;
            case "committed": committed(); break;
            case "admin": admin(); break;
            default: throw new IllegalArgumentException("no such command");
        }
    }

    private String text(String name) {
        return c.has(name) ? c.get(name).asText() : "";
    }

    private Properties base() {
        Properties p = new Properties();
        p.put("bootstrap.servers", text("brokers"));
        p.put("default.api.timeout.ms", "30000");
        return p;
    }

    private void produce() throws Exception {
        Properties p = base();
        String serializer = "org.apache.kafka.common.serialization.StringSerializer";
        p.put("key.serializer", serializer);
        p.put("value.serializer", serializer);
        p.put("compression.type", text("codec"));
        p.put("linger.ms", "50");
        p.put("max.block.ms", "15000");
        p.put("enable.idempotence", String.valueOf(c.path("idempotent").asBoolean()));
        p.put("acks", c.path("idempotent").asBoolean() ? "all" : String.valueOf(c.path("acks").asInt(-1)));
        if (c.has("transaction")) {
            p.put("transactional.id", text("transaction"));
            p.put("enable.idempotence", "true");
            p.put("acks", "all");
        }
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
            if (c.has("transaction")) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            Integer partition = c.has("partition") ? c.get("partition").asInt() : null;
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < c.get("count").asInt(); i++) {
                sent.add(producer.send(new ProducerRecord<>(text("topic"), partition, c.get("time").asLong() + 1000L * i, "k" + i % 3, text("prefix") + "-" + i)));
            }
            producer.flush();
            for (Future<RecordMetadata> f : sent) say("partition", f.get().partition(), "offset", f.get().offset());
        }
    }

    private KafkaConsumer<String, String> consumer(Properties p) {
        String deserializer = "org.apache.kafka.common.serialization.StringDeserializer";
        p.put("key.deserializer", deserializer);
        p.put("value.deserializer", deserializer);
        p.put("enable.auto.commit", "false");
        p.put("isolation.level", "read_committed");
        return new KafkaConsumer<>(p);
    }

    private static void show(ConsumerRecord<String, String> r) throws Exception {
        say("partition", r.partition(), "offset", r.offset(), "key", r.key(), "value", r.value(), "time", r.timestamp());
    }

    private void read() throws Exception {
        try (KafkaConsumer<String, String> consumer = consumer(base())) {
            TopicPartition p = new TopicPartition(text("topic"), c.get("partition").asInt());
            consumer.assign(List.of(p));
            switch (text("at")) {
                case "beginning": consumer.seekToBeginning(List.of(p)); break;
                case "end":
                    consumer.seekToEnd(List.of(p));
                    consumer.position(p);
                    break;
                case "time": consumer.seek(p, consumer.offsetsForTimes(Map.of(p, c.get("time").asLong())).get(p).offset()); break;
                default: consumer.seek(p, c.get("offset").asLong());
            }
            say("ready", true);
            for (int n = 0; n < c.get("count").asInt(); ) {
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofSeconds(1))) {
                    if (n++ < c.get("count").asInt()) show(r);
                }
            }
        }
    }

    private void group() throws Exception {
        Thread leave = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (java.io.IOException e) {
                // the test is gone
            }
        });
        leave.setDaemon(true);
        leave.start();
        Properties p = base();
        p.put("group.id", text("group"));
        p.put("auto.offset.reset", "earliest");
        p.put("session.timeout.ms", text("session"));
        p.put("heartbeat.interval.ms", "1000");
        if (c.has("instance")) p.put("group.instance.id", text("instance"));
        if (c.has("strategy")) p.put("partition.assignment.strategy", text("strategy"));
        try (KafkaConsumer<String, String> consumer = consumer(p)) {
            consumer.subscribe(List.of(text("topic")), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> parts) {}

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> parts) {
                    TreeSet<Integer> held = new TreeSet<>();
                    for (TopicPartition t : consumer.assignment()) held.add(t.partition());
                    for (TopicPartition t : parts) held.add(t.partition());
                    try {
                        say("assigned", held);
                    } catch (Exception e) {
                        throw new RuntimeException(e);
                    }
                }
            });
            while (leave.isAlive()) {
                ConsumerRecords<String, String> polled = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<String, String> r : polled) show(r);
                if (!polled.isEmpty()) consumer.commitSync();
            }
        }
    }

    private void committed() throws Exception {
        try (Admin a = Admin.create(base()); KafkaConsumer<String, String> consumer = consumer(base())) {
            Map<TopicPartition, OffsetAndMetadata> found = a.listConsumerGroupOffsets(text("group")).partitionsToOffsetAndMetadata().get(30, TimeUnit.SECONDS);
            List<TopicPartition> parts = new ArrayList<>();
            for (int i = 0; i < c.get("partitions").asInt(); i++) parts.add(new TopicPartition(text("topic"), i));
            Map<TopicPartition, Long> ends = consumer.endOffsets(parts);
            for (TopicPartition p : parts) {
                say("partition", p.partition(), "offset", found.get(p) == null ? -1 : found.get(p).offset(), "end", ends.get(p));
            }
        }
    }

    private void admin() throws Exception {
        Map<String, String> config = new HashMap<>();
        if (c.has("config")) c.get("config").fields().forEachRemaining(e -> config.put(e.getKey(), e.getValue().asText()));
        String topic = text("topic");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin a = Admin.create(base())) {
            switch (text("what")) {
                case "create":
                    a.createTopics(List.of(new NewTopic(topic, c.get("partitions").asInt(), (short) 1).configs(config))).all().get();
                    break;
                case "describe": {
                    int partitions = 0;
                    Map<String, String> settings = new TreeMap<>();
                    if (a.listTopics().names().get().contains(topic)) {
                        try (KafkaConsumer<String, String> consumer = consumer(base())) { // of one form in every version
                            partitions = consumer.partitionsFor(topic).size();
                        }
                        for (ConfigEntry e : a.describeConfigs(List.of(resource)).all().get().get(resource).entries()) settings.put(e.name(), e.value());
                    }
                    say("partitions", partitions, "config", settings);
                    return;
                }
                case "alter": {
                    List<AlterConfigOp> ops = new ArrayList<>();
                    config.forEach((k, v) -> ops.add(new AlterConfigOp(new ConfigEntry(k, v), AlterConfigOp.OpType.SET)));
                    a.incrementalAlterConfigs(Map.of(resource, ops)).all().get();
                    break;
                }
                case "grow":
                    a.createPartitions(Map.of(topic, NewPartitions.increaseTo(c.get("partitions").asInt()))).all().get();
                    break;
                case "delete":
                    a.deleteTopics(List.of(topic)).all().get();
                    break;
                default:
                    throw new IllegalArgumentException("no such command");
            }
            say("ok", true);
        }
    }
}
