"""The chart: what it renders, and that it is what config/ says."""
import unittest

import yaml

from support import CHART, ROOT, crds, documents, helm_template, kustomize, of_kind, tool

# Labels and annotations by which Helm knows its own.
OF_HELM = {"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart", "helm.sh/resource-policy"}
COMMON = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}


def normal(objects):
    """By kind, namespace and name, without what only one of the two tools writes on an object."""
    found = {}
    for o in objects:
        meta = o["metadata"]
        for kind in ("labels", "annotations"):
            kept = {k: v for k, v in meta.pop(kind, {}).items() if k not in OF_HELM | COMMON}
            if kept:
                meta[kind] = kept
        found[o["kind"], meta.get("namespace"), meta["name"]] = o
    return found


class Chart(unittest.TestCase):
    maxDiff = None

    def test_it_renders_what_config_says(self):
        config = normal(kustomize("config/default"))
        # Namespaces are made by whoever installs a chart.
        self.assertIsNotNone(config.pop(("Namespace", None, "guardbit-system")))
        chart = normal(helm_template())
        self.assertEqual(sorted(map(str, chart)), sorted(map(str, config)))
        for key, expected in config.items():
            self.assertEqual(chart[key], expected, key)
        self.assertGreaterEqual(len(chart), 12)

    def test_its_crds_are_those_of_the_api(self):
        ours = {path.name: path.read_text() for path in crds()}
        self.assertGreaterEqual(len(ours), 2)
        copies = {path.name: path.read_text() for path in (CHART / "files/crds").glob("*")}
        self.assertTrue(copies == ours, "run `make crds`")

    def test_crds_outlive_the_release_and_can_be_left_to_others(self):
        found = of_kind(helm_template(), "CustomResourceDefinition")
        self.assertEqual(sorted(f"{crd['metadata']['name']}.yaml" for crd in found), sorted(path.name for path in crds()))
        for crd in found:
            self.assertEqual(crd["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"}, crd["metadata"]["name"])
        self.assertEqual(of_kind(helm_template("crds.install=false"), "CustomResourceDefinition"), [])

    def test_it_passes_lint(self):
        tool("helm", "lint", "--strict", CHART)

    def test_namespaces_limit_watch_and_rights(self):
        objects = helm_template('namespaces=["risk","ads"]')
        (deployment,) = of_kind(objects, "Deployment")
        self.assertIn("--namespaces=risk,ads", deployment["spec"]["template"]["spec"]["containers"][0]["args"])
        # Policies are the cluster's. Of namespaces it reads only its own.
        self.assertEqual([b["roleRef"]["name"] for b in of_kind(objects, "ClusterRoleBinding")], ["guardbit-policies"])
        self.assertNotIn("guardbit", [r["metadata"]["name"] for r in of_kind(objects, "ClusterRole")])
        policies = [[r for r in of_kind(o, "ClusterRole") if r["metadata"]["name"] == "guardbit-policies"][0]["rules"] for o in (objects, helm_template())]
        narrowed = [rule for rule in policies[0] if rule not in policies[1]]
        self.assertEqual(narrowed, [{"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["risk", "ads"], "verbs": ["get", "list", "watch"]}])
        self.assertTrue(all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in policies[1]))
        (wide,) = [r for r in of_kind(helm_template(), "ClusterRole") if r["metadata"]["name"] == "guardbit"]
        roles = {r["metadata"]["namespace"]: r["rules"] for r in of_kind(objects, "Role") if r["metadata"]["name"] == "guardbit"}
        self.assertEqual(roles, {"risk": wide["rules"], "ads": wide["rules"]})
        bound = {b["metadata"]["namespace"]: b["subjects"][0]["namespace"] for b in of_kind(objects, "RoleBinding")}
        self.assertEqual(bound, {"risk": "guardbit-system", "ads": "guardbit-system", "guardbit-system": "guardbit-system"})

    def test_secrets_are_read_only_where_that_was_said(self):
        objects = helm_template('rbac.secretReaderIn=["risk"]')
        readers = [b for b in of_kind(objects, "RoleBinding") if b["roleRef"]["name"] == "guardbit-secret-reader"]
        self.assertEqual([b["metadata"]["namespace"] for b in readers], ["risk"])
        for role in of_kind(objects, "ClusterRole"):
            secrets = any("secrets" in rule["resources"] for rule in role["rules"])
            self.assertEqual(secrets, role["metadata"]["name"] == "guardbit-secret-reader", role["metadata"]["name"])

    def test_an_image_digest_wins_over_the_tag(self):
        digest = "sha256:" + "0" * 64
        (deployment,) = of_kind(helm_template(f'image={{"repository":"registry.example/guardbit","tag":"v1","digest":"{digest}"}}'), "Deployment")
        self.assertEqual(deployment["spec"]["template"]["spec"]["containers"][0]["image"], f"registry.example/guardbit@{digest}")

    def test_the_network_policy_opens_the_ports_of_the_allowed_servers(self):
        urls = '["https://metrics.example/tenants/a","http://mimir.monitoring:8080/prometheus"]'
        (policy,) = of_kind(helm_template(f"allowedPrometheusUrls={urls}", "networkPolicy.prometheus.ports=[9091]"), "NetworkPolicy")
        ports = [sorted(p["port"] for p in rule["ports"]) for rule in policy["spec"]["egress"]]
        self.assertEqual(ports, [[53, 53], [443, 6443], [443, 8080, 9090, 9091]])
        (policy,) = of_kind(helm_template('prometheusUrl=""'), "NetworkPolicy")
        self.assertEqual(len(policy["spec"]["egress"]), 2)
        self.assertEqual(of_kind(helm_template("networkPolicy.enabled=false"), "NetworkPolicy"), [])

    def test_one_replica_has_no_budget_that_would_block_a_drain(self):
        self.assertEqual(of_kind(helm_template("replicas=1"), "PodDisruptionBudget"), [])
        (budget,) = of_kind(helm_template(), "PodDisruptionBudget")
        self.assertEqual(budget["spec"]["maxUnavailable"], 1)

    def test_two_releases_do_not_meet(self):
        apart = {"CustomResourceDefinition"}
        one = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in helm_template() if o["kind"] not in apart}
        two = helm_template(release="blue", namespace="blue")
        self.assertFalse(one & {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in two})
        (deployment,) = of_kind(two, "Deployment")
        self.assertIn("--lease-name=blue-guardbit", deployment["spec"]["template"]["spec"]["containers"][0]["args"])
        self.assertIn("--governance-prefix=blue-guardbit", deployment["spec"]["template"]["spec"]["containers"][0]["args"])

    def test_monitoring_objects_come_when_asked_for(self):
        kinds = {"PodMonitor", "PrometheusRule", "ConfigMap"}
        self.assertFalse(kinds & {o["kind"] for o in helm_template()})
        objects = helm_template("podMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true")
        (monitor,) = of_kind(objects, "PodMonitor")
        self.assertTrue(monitor["spec"]["podMetricsEndpoints"][0]["honorLabels"])
        (rule,) = of_kind(objects, "PrometheusRule")
        self.assertEqual(rule["spec"], yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text()))
        (dashboard,) = of_kind(objects, "ConfigMap")
        self.assertEqual(yaml.safe_load(dashboard["data"]["guardbit.json"]), yaml.safe_load((ROOT / "deploy/grafana-dashboard.json").read_text()))

    def test_everything_set_at_once_renders(self):
        values = documents((ROOT / "tests/packaging/every-value.yaml").read_text())[0]
        known = documents((CHART / "values.yaml").read_text())[0]
        self.assertEqual(sorted(values), sorted(known), "every-value.yaml sets every value")
        text = tool("helm", "template", "guardbit", CHART, "-n", "guardbit-system", "-f", "tests/packaging/every-value.yaml").stdout
        (deployment,) = of_kind(documents(text), "Deployment")
        pod = deployment["spec"]["template"]
        self.assertEqual(pod["metadata"]["labels"]["team"], "ml")
        self.assertEqual(pod["metadata"]["annotations"], {"example.com/owner": "ml"})
        spec = pod["spec"]
        for field in ("imagePullSecrets", "priorityClassName", "nodeSelector", "tolerations", "affinity"):
            self.assertEqual(spec[field], values[field])
        (container,) = spec["containers"]
        self.assertEqual(container["env"][2:], values["extraEnv"])
        self.assertIn("--governance=required", container["args"])
        (mount,), (volume,) = container["volumeMounts"], spec["volumes"]
        self.assertEqual((volume["name"], volume["secret"]["secretName"]), (mount["name"], "guardbit-signing-key"))
        self.assertIn(f"--signing-key-file={mount['mountPath']}/key.pem", container["args"])

    def test_values_that_cannot_work_are_refused(self):
        for value, field in [("replicas=0", "replicas"), ("replica=1", "replica"), ('prometheusUrl="prometheus:9090"', "prometheusUrl"),
                             ('image.digest="sha256:1"', "digest"), ('namespaces=["Risk"]', "namespaces"), ('logFormat="xml"', "logFormat"),
                             ('allowedPrometheusUrls=["http://a,http://b"]', "allowedPrometheusUrls")]:
            refused = tool("helm", "template", "guardbit", CHART, "--set-json", value, check=False)
            self.assertNotEqual(refused.returncode, 0, value)
            self.assertIn(field, refused.stderr, value)


if __name__ == "__main__":
    unittest.main()
