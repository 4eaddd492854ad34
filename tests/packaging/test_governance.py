"""config/governance: the chart renders the same, and what must hold of every policy does."""
import os
import pathlib
import re
import tempfile
import unittest

import yaml

from support import ROOT, helm_template, kustomize, of_kind
from test_chart import normal

MUTATING = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
ON = "governance.enabled=true"
GUARDBIT = "'system:serviceaccount:guardbit-system:guardbit'"
POLICIES = ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy")


def policies(objects):
    return [o for kind in POLICIES for o in of_kind(objects, kind)]


def bindings(objects):
    return [o for kind in POLICIES for o in of_kind(objects, f"{kind}Binding")]


def variables(policy):
    return {variable["name"]: variable["expression"] for variable in policy["spec"]["variables"]}


def users(objects):
    """Who is guardbit, in the words of each policy that asks."""
    return [variables(policy)["guardbit"] for policy in policies(objects) if "guardbit" in variables(policy)]


def added(*values, **more):
    """What governance adds to the objects of a release."""
    without, with_it = normal(helm_template(*values, **more)), normal(helm_template(*values, ON, **more))
    for key, same in without.items():
        assert with_it.pop(key) == same, key
    return with_it


class Governance(unittest.TestCase):
    maxDiff = None

    def test_the_chart_adds_what_config_says(self):
        self.assertEqual(added(serves=[MUTATING]), normal(kustomize("config/governance")))
        self.assertEqual(added(), normal(kustomize("config/governance/base")))
        self.assertEqual(len(added()), 7)
        self.assertEqual(len(added(serves=[MUTATING])), 11)

    def test_it_is_off_by_default_and_no_part_of_config_default(self):
        for objects in (helm_template(serves=[MUTATING]), kustomize("config/default")):
            self.assertEqual(policies(objects) + bindings(objects), [])

    def test_the_beta_is_used_only_where_that_was_said(self):
        beta = of_kind(helm_template(ON, "governance.mutatingBeta=true"), "MutatingAdmissionPolicy")
        self.assertEqual([policy["apiVersion"] for policy in beta], ["admissionregistration.k8s.io/v1beta1"])
        stable = of_kind(helm_template(ON, "governance.mutatingBeta=true", serves=[MUTATING]), "MutatingAdmissionPolicy")
        self.assertEqual([policy["apiVersion"] for policy in stable], ["admissionregistration.k8s.io/v1"])

    def test_who_is_guardbit_stands_in_one_variable_of_each_policy_that_asks(self):
        objects = kustomize("config/governance")
        self.assertEqual(users(objects), [GUARDBIT] * 3)
        for policy in policies(objects):
            named = yaml.safe_dump(policy, width=10_000).count("serviceaccount:guardbit-system")
            self.assertEqual(named, int("guardbit" in variables(policy)), policy["metadata"]["name"])
        # For the overlay of docs/install.md, which replaces the first.
        for policy in policies(objects):
            if "guardbit" in variables(policy):
                self.assertEqual(policy["spec"]["variables"][0]["name"], "guardbit")

    def test_a_release_names_its_own_user_and_only_its_own_namespaces(self):
        objects = helm_template(ON, 'namespaces=["risk"]', 'serviceAccount={"create":false,"name":"robot"}', release="blue", namespace="ml", serves=[MUTATING])
        self.assertEqual(users(objects), ["'system:serviceaccount:ml:robot'"] * 3)
        names = {policy["metadata"]["name"] for policy in policies(objects)}
        self.assertEqual(names, {"blue-guardbit-actions", "blue-guardbit-ledger", "blue-guardbit-authors"})
        self.assertEqual({binding["spec"]["policyName"] for binding in bindings(objects)}, names)
        selector = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["risk"]}]}
        for binding in bindings(objects):
            self.assertEqual(binding["spec"]["matchResources"], {"namespaceSelector": selector})
        # What guardbit may read of them is named as they are.
        (role,) = [r for r in of_kind(objects, "ClusterRole") if r["metadata"]["name"] == "blue-guardbit-policies"]
        (named,) = [rule["resourceNames"] for rule in role["rules"] if rule["apiGroups"] == ["admissionregistration.k8s.io"]]
        self.assertLessEqual(set(named), names)

    def test_roles_for_people_can_be_left_out(self):
        self.assertEqual(of_kind(helm_template(ON, "rbac.userRoles=false"), "ClusterRole")[0]["metadata"]["name"], "guardbit")
        people = {o["metadata"]["name"]: o for o in of_kind(kustomize("config/governance"), "ClusterRole")}
        self.assertEqual(sorted(people), ["guardbit-approver", "guardbit-breakglass", "guardbit-oncall"])
        for name, role in people.items():
            self.assertNotIn("labels", role["metadata"], f"{name} is aggregated to nothing")

    def test_every_policy_denies_fails_closed_and_is_bound_everywhere(self):
        objects = kustomize("config/governance")
        bound = {(b["kind"].removesuffix("Binding"), b["spec"]["policyName"]): b["spec"] for b in bindings(objects)}
        self.assertEqual(len(bound), 4)
        for policy in policies(objects):
            name, spec = policy["metadata"]["name"], policy["spec"]
            self.assertEqual(spec["failurePolicy"], "Fail", name)
            # With parameters the API servers would watch them, and static policies could not be made of these.
            self.assertNotIn("paramKind", spec, name)
            self.assertNotIn("matchConditions", spec, name)
            for validation in spec.get("validations", []):
                self.assertEqual(validation["reason"], "Forbidden", name)
                # A message that is an expression may fail to evaluate.
                self.assertTrue(validation["message"], name)
            binding = bound.pop((policy["kind"], name))
            self.assertEqual({k: v for k, v in binding.items() if k != "policyName"},
                             {"validationActions": ["Deny"]} if policy["kind"] == POLICIES[0] else {})
        self.assertEqual(bound, {})

    def test_stamp_and_keep_agree_on_what_is_wanted(self):
        stamp, keep = [variables(p) for kind in reversed(POLICIES) for p in of_kind(kustomize("config/governance/authors"), kind)]
        self.assertEqual(keep.pop("now").count("guardbit.dev/authors"), 2)
        self.assertEqual(stamp, keep)
        self.assertEqual(list(stamp), ["guardbit", "me", "before", "changed", "wanted"])

    def test_every_action_has_its_right_and_some_role_gives_it(self):
        (actions,) = [p for p in policies(kustomize("config/governance")) if p["metadata"]["name"] == "guardbit-actions"]
        verbs = dict(re.findall(r"'(\w+)': '(\w+)'", variables(actions)["verb"]))
        self.assertEqual(len(verbs), 7)
        given = {verb for role in of_kind(kustomize("config/governance"), "ClusterRole") for rule in role["rules"] for verb in rule["verbs"]
                 if rule["resources"] == ["quantizedmodels"]}
        self.assertEqual(given - {"get", "list", "watch"}, set(verbs.values()))

    def test_the_overlay_of_the_page_names_another_user(self):
        page = (ROOT / "docs/install.md").read_text()
        (overlay,) = re.findall(r"```yaml\n(# kustomization.yaml.*?)```", page, re.S)
        with tempfile.TemporaryDirectory() as directory:
            root = os.path.relpath(ROOT, pathlib.Path(directory).resolve())
            text = overlay.replace("../guardbit/", f"{root}/")
            self.assertIn(f"{root}/config/governance", text)
            (pathlib.Path(directory) / "kustomization.yaml").write_text(text)
            objects = kustomize(directory)
        self.assertEqual(users(objects), ["'system:serviceaccount:ml:guardbit'"] * 3)
        (deployment,) = of_kind(objects, "Deployment")
        self.assertEqual(deployment["metadata"]["namespace"], "ml")


if __name__ == "__main__":
    unittest.main()
