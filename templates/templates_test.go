package templates_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keyrot/keyrot/pkg/store/dynamodb"
	"github.com/keyrot/keyrot/templates"
)

// plain turns CloudFormation's short tags into what they stand for: !Ref X
// into {Ref: X}, !Sub and its kin into {Fn::Sub: …}.
func plain(n *yaml.Node) any {
	var v any
	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0])
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		v = m
	case yaml.SequenceNode:
		s := []any{}
		for _, c := range n.Content {
			s = append(s, plain(c))
		}
		v = s
	default:
		v = n.Value
	}
	switch tag := strings.TrimPrefix(n.Tag, "!"); {
	case strings.HasPrefix(tag, "!") || tag == "" || n.Tag == "tag:yaml.org,2002:str":
		return v
	case tag == "Ref" || tag == "Condition":
		return map[string]any{tag: v}
	default:
		return map[string]any{"Fn::" + tag: v}
	}
}

func load(t *testing.T) map[string]any {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(templates.Keyrot()), &doc); err != nil {
		t.Fatal(err)
	}
	return plain(&doc).(map[string]any)
}

// at walks down the tree; nil if there is nothing.
func at(v any, path ...string) any {
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i := 0
			if _, err := fmt.Sscan(p, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func text(v any) string { return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(v), "map["), "]") }

// What moto leaves out, or ignores, is asserted here.
func TestProperties(t *testing.T) {
	t.Parallel()
	doc := load(t)
	for path, want := range map[string]string{
		"Table/DeletionPolicy": "RetainExceptOnCreate", "Table/UpdateReplacePolicy": "Retain",
		"Table/Properties/BillingMode": "Fn::If:[Provisioned PROVISIONED PAY_PER_REQUEST]", "Table/Properties/TimeToLiveSpecification/AttributeName": dynamodb.TTLAttribute,
		"Table/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled": "true",
		"Key/DeletionPolicy": "RetainExceptOnCreate", "Key/UpdateReplacePolicy": "Retain", "Key/Properties/EnableKeyRotation": "true",
		"ApiSecret/Properties/GenerateSecretString/PasswordLength": "48", "ApiSecret/Properties/GenerateSecretString/GenerateStringKey": "api_key",
		"ApiSecret/Properties/GenerateSecretString/ExcludePunctuation": "true",
		"Rotator/Properties/Runtime":                                   "provided.al2023", "Rotator/Properties/Architectures/0": "arm64", "Rotator/Properties/Timeout": "90",
		"Rotator/Properties/Environment/Variables/KEYROT_FUNCTION": "rotator", "Api/Properties/Environment/Variables/KEYROT_FUNCTION": "api",
		"Rotator/Properties/LoggingConfig/LogGroup": "Ref:RotatorLog", "Api/Properties/LoggingConfig/LogGroup": "Ref:ApiLog",
		"RotatorLog/Properties/RetentionInDays": "Ref:LogRetentionDays", "ApiLog/Properties/RetentionInDays": "Ref:LogRetentionDays",
		"Tick/Properties/ScheduleExpression": "rate(1 minute)", "Tick/Properties/Targets/0/RetryPolicy/MaximumRetryAttempts": "0",
		"Tick/Properties/Targets/0/RetryPolicy/MaximumEventAgeInSeconds": "60", "Tick/Properties/Targets/0/DeadLetterConfig/Arn": "Fn::GetAtt:DeadLetters.Arn",
		"TickPermission/Properties/SourceArn":             "Fn::GetAtt:Tick.Arn",
		"Invocations/Properties/MaximumRetryAttempts":     "0",
		"Invocations/Properties/MaximumEventAgeInSeconds": "60", "Invocations/Properties/Qualifier": "$LATEST",
		"Invocations/Properties/DestinationConfig/OnFailure/Destination":                            "Fn::GetAtt:DeadLetters.Arn",
		"DeadLetters/Properties/SqsManagedSseEnabled":                                               "true",
		"DeadLettersPolicy/Properties/PolicyDocument/Statement/0/Condition/ArnEquals/aws:SourceArn": "Fn::GetAtt:Tick.Arn",
		"TokenMethod/Properties/HttpMethod":                                                         "POST",
		"TokenMethod/Properties/ApiKeyRequired":                                                     "true",
		"KeyMethod/Properties/HttpMethod":                                                           "GET",
		"KeyMethod/Properties/ApiKeyRequired":                                                       "true",
		"TokenResource/Properties/PathPart":                                                         "generate-token",
		"KeyResource/Properties/PathPart":                                                           "active-key",
		"Stage/Properties/MethodSettings/0/ThrottlingRateLimit":                                     "Ref:ApiRate",
		"ApiKey/Properties/Value":                                                                   "Fn::Sub:{{resolve:secretsmanager:${ApiSecret}:SecretString:api_key}}",
		"UsagePlan/Properties/Throttle/BurstLimit":                                                  "Ref:ApiBurst",
		"UsagePlan/Properties/ApiStages/0/Stage":                                                    "Ref:Stage",
		"UsagePlanKey/Properties/UsagePlanId":                                                       "Ref:UsagePlan",
		"UsagePlanKey/Properties/KeyId":                                                             "Ref:ApiKey",
		"Alarms/Properties/Subscription/0/Endpoint":                                                 "Ref:AdminEmail",
		"DeadManAlarm/Properties/MetricName":                                                        "Passes",
		"DeadManAlarm/Properties/TreatMissingData":                                                  "breaching",
		"DeadManAlarm/Properties/ComparisonOperator":                                                "LessThanThreshold",
		"OverdueAlarm/Properties/MetricName":                                                        "Overdue",
		"FailedAlarm/Properties/MetricName":                                                         "Failed",
		"ErrorAlarm/Properties/Namespace":                                                           "AWS/Lambda",
		"ApiErrorAlarm/Properties/Dimensions/0/Value":                                               "Ref:Api",
		"RestApi/Properties/Policy/Fn::If/1/Statement/1/Condition/NotIpAddress/aws:SourceIp":        "Ref:AllowedSources",
	} {
		if got := text(at(doc["Resources"], strings.Split(path, "/")...)); got != want {
			t.Errorf("%s = %q, want %q", path, got, want)
		}
	}
}

// Rules that hold for every resource of a type.
func TestEveryResource(t *testing.T) {
	t.Parallel()
	doc := load(t)
	for name, r := range doc["Resources"].(map[string]any) {
		p := at(r, "Properties")
		switch at(r, "Type") {
		case "AWS::IAM::Role":
			if text(at(p, "PermissionsBoundary", "Fn::If", "1")) != "Ref:PermissionsBoundary" || at(p, "RoleName") != nil {
				t.Errorf("%s has no boundary, or a name of its own", name)
			}
		case "AWS::CloudWatch::Alarm":
			if text(at(p, "AlarmActions", "0")) != "Ref:Alarms" || text(at(p, "OKActions", "0")) != "Ref:Alarms" || at(p, "TreatMissingData") == nil {
				t.Errorf("%s tells nobody", name)
			}
		case "AWS::ApiGateway::Method":
			deployed := false
			for n, d := range doc["Resources"].(map[string]any) {
				if at(d, "Type") == "AWS::ApiGateway::Deployment" {
					deployed = strings.HasPrefix(n, "ApiDeployment") && slices.Contains(at(d, "DependsOn").([]any), any(name))
				}
			}
			if !deployed {
				t.Errorf("the deployment does not wait for %s", name)
			}
		}
	}
	whole := templates.Keyrot()
	for _, bad := range []string{"arn:aws:", "amazonaws.com/", "TODO"} {
		if strings.Contains(strings.ReplaceAll(whole, "^(arn:aws", ""), bad) {
			t.Errorf("the template holds %q: it would fail in other partitions, or is not finished", bad)
		}
	}
	if len(whole) > 51_200 {
		t.Errorf("the template has %d bytes, more than CloudFormation takes inline", len(whole))
	}
	outputs := fmt.Sprint(doc["Outputs"])
	if strings.Contains(outputs, "resolve:") || strings.Contains(outputs, "ApiKey ") {
		t.Error("an output holds the API key")
	}
}

func TestTableIsTheStoresSchema(t *testing.T) {
	t.Parallel()
	p, want := at(load(t)["Resources"], "Table", "Properties"), dynamodb.Schema("t")
	var attributes, keys []string
	for _, a := range at(p, "AttributeDefinitions").([]any) {
		attributes = append(attributes, text(at(a, "AttributeName"))+" "+text(at(a, "AttributeType")))
	}
	for _, k := range append(at(p, "KeySchema").([]any), at(p, "GlobalSecondaryIndexes", "0", "KeySchema").([]any)...) {
		keys = append(keys, text(at(k, "AttributeName"))+" "+text(at(k, "KeyType")))
	}
	var wantAttributes, wantKeys []string
	for _, a := range want.AttributeDefinitions {
		wantAttributes = append(wantAttributes, *a.AttributeName+" "+string(a.AttributeType))
	}
	for _, k := range slices.Concat(want.KeySchema, want.GlobalSecondaryIndexes[0].KeySchema) {
		wantKeys = append(wantKeys, *k.AttributeName+" "+string(k.KeyType))
	}
	if !reflect.DeepEqual(attributes, wantAttributes) || !reflect.DeepEqual(keys, wantKeys) ||
		text(at(p, "GlobalSecondaryIndexes", "0", "IndexName")) != *want.GlobalSecondaryIndexes[0].IndexName ||
		text(at(p, "GlobalSecondaryIndexes", "0", "Projection", "ProjectionType")) != string(want.GlobalSecondaryIndexes[0].Projection.ProjectionType) {
		t.Errorf("the table has %v, %v, want %v, %v", attributes, keys, wantAttributes, wantKeys)
	}
}

func TestDeploymentFollowsTheAPI(t *testing.T) {
	t.Parallel()
	name := func(s string) string { _, s, _ = strings.Cut(s, "  ApiDeployment"); return s[:8] }
	a, b := name(templates.Keyrot("")), name(templates.Keyrot("10.0.0.0/8"))
	if a == b || a == "00000000" {
		t.Errorf("deployments %s and %s, want another one for another allow-list", a, b)
	}
	if a != name(templates.Keyrot("")) {
		t.Error("the same API makes another deployment")
	}
}

// TestTheServerIsStartedAgain: also for hours, on a disk that fails each start.
func TestTheServerIsStartedAgain(t *testing.T) {
	raw, err := os.ReadFile("systemd/keyrot.service")
	if err != nil {
		t.Fatal(err)
	}
	section, set := "", map[string]string{}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		} else if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			set[section+name] = value
		}
	}
	for name, want := range map[string]string{"[Unit]StartLimitIntervalSec": "0", "[Service]Restart": "always", "[Service]RestartSec": "2"} {
		if set[name] != want {
			t.Errorf("%s = %q, want %q", name, set[name], want)
		}
	}
}
