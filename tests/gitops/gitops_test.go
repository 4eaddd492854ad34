// Package gitops tests what GitOps tools make of a QuantizedModel: kstatus as Flux uses it, and the health check of Argo CD in
// the Lua that Argo CD runs. The objects were written by whole rollouts of the core; docs/gitops.md says what must come out.
package gitops

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const root = "../.."

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// row of the table in docs/gitops.md.
type row struct{ situation, phase, kstatus, argo string }

func table(t *testing.T) []row {
	t.Helper()
	line := regexp.MustCompile("(?m)^\\| `([a-z-]+)`: [^|]* \\| (\\w+) \\| (\\w+) \\| (\\w+) \\|$")
	var rows []row
	for _, m := range line.FindAllStringSubmatch(string(read(t, "docs/gitops.md")), -1) {
		rows = append(rows, row{m[1], m[2], m[3], m[4]})
	}
	return rows
}

func object(t *testing.T, situation string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(read(t, "tests/testdata/kstatus/"+situation+".json"), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestTheTableHasEverySituation(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "tests/testdata/kstatus/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no situations: %v", err)
	}
	if rows := table(t); len(rows) != len(files) {
		t.Errorf("docs/gitops.md has %d rows, and there are %d situations", len(rows), len(files))
	}
}

func TestWhatKstatusMakesOfIt(t *testing.T) {
	for _, row := range table(t) {
		t.Run(row.situation, func(t *testing.T) {
			// As the client hands it over: numbers are int64.
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(read(t, "tests/testdata/kstatus/"+row.situation+".json")); err != nil {
				t.Fatal(err)
			}
			if phase, _, _ := unstructured.NestedString(u.Object, "status", "phase"); phase != row.phase {
				t.Errorf("phase %s, docs/gitops.md says %s", phase, row.phase)
			}
			result, err := status.Compute(u)
			if err != nil {
				t.Fatal(err)
			}
			if got := result.Status.String(); got != row.kstatus {
				t.Errorf("kstatus: %s (%s), docs/gitops.md says %s", got, result.Message, row.kstatus)
			}
			if row.kstatus == "Failed" && result.Message == "" {
				t.Error("a failure without a message")
			}
		})
	}
}

// health runs the check as Argo CD does: obj is the object, the result is a table with status and message.
func health(t *testing.T, object map[string]any) (string, string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString} {
		open(state)
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(string(read(t, "deploy/argocd-health.lua"))); err != nil {
		t.Fatal(err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("not a table: %v", state.Get(-1))
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case string:
		return lua.LString(from)
	case float64:
		return lua.LNumber(from)
	case bool:
		return lua.LBool(from)
	default:
		return lua.LNil
	}
}

func TestWhatArgoCDMakesOfIt(t *testing.T) {
	for _, row := range table(t) {
		t.Run(row.situation, func(t *testing.T) {
			status, message := health(t, object(t, row.situation))
			if status != row.argo {
				t.Errorf("Argo CD: %s (%s), docs/gitops.md says %s", status, message, row.argo)
			}
			if message == "" || message == "nil" {
				t.Error("no message")
			}
		})
	}
	t.Run("no status yet", func(t *testing.T) {
		if status, _ := health(t, map[string]any{"metadata": map[string]any{"generation": 1.0}}); status != "Progressing" {
			t.Errorf("Argo CD: %s", status)
		}
	})
}

func TestTheHealthCheckIsInTheConfigMap(t *testing.T) {
	var indented strings.Builder
	for line := range strings.Lines(string(read(t, "deploy/argocd-health.lua"))) {
		if strings.TrimSpace(line) != "" {
			indented.WriteString("    ")
		}
		indented.WriteString(line)
	}
	if !strings.Contains(string(read(t, "deploy/argocd-cm.yaml")), indented.String()) {
		t.Error("deploy/argocd-cm.yaml is out of date: run `make generated`")
	}
}

func TestTheDashboardIsOneThatGrafanaTakes(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	var board dashboard.Dashboard
	// The reader joins the errors of the parts; of parts without errors it joins nothing, into an error without a text.
	if err := board.UnmarshalJSONStrict(read(t, "deploy/grafana-dashboard.json")); err != nil && err.Error() != "" {
		t.Fatalf("against Grafana's schema: %v", err)
	}
	if err := board.Validate(); err != nil {
		t.Fatalf("against Grafana's constraints: %v", err)
	}
	if len(board.Panels) < 15 {
		t.Errorf("only %d panels", len(board.Panels))
	}
}
