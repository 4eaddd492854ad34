//! The comparer beside a trial: it is made and deleted after everything else, because nothing depends on it but the mirror of
//! the route. That is written once the comparer is ready, and is gone before the comparer goes.

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::apiserver::call_opt;
use crate::manifests::traffic::ROUTES;
use crate::manifests::{self, Kind, RouteKind, comparer};
use crate::model::identity::comparer_name;
use crate::rollout::{ComparedArms, MirrorSeen, Refused};

use super::super::error::Error;
use super::{Apply, tolerate, with_pods};

/// Why no comparer can be run.
const NO_IMAGE: &str = "guardbit was started without --comparer-image, so that no comparer of spec.comparer can be run: set that flag to the image of guardbit, or remove spec.comparer";

impl Apply<'_> {
    /// Applies the comparer that the plan wants, or deletes the one that it does not want.
    pub(super) async fn comparer(&self, refused: &mut Vec<Refused>) -> Result<(), Error> {
        let Some(arms) = &self.plan.comparer else {
            // The route wakes this model again when it mirrors no more.
            return match self.is_mirrored() {
                true => Ok(()),
                false => self.delete_comparer().await,
            };
        };
        let Some(image) = &self.ctx.settings.image else {
            refused.push(Refused {
                object: format!("{} {}", Kind::Deployment, comparer_name(self.owner.name)),
                is_carrier: false,
                why: NO_IMAGE.to_owned(),
            });
            return Ok(());
        };
        self.delete_arm_services(Some(arms)).await?;
        let service = comparer::service(&self.owner);
        if service.is_none() && !self.is_mirrored() {
            self.delete_own(Kind::Service).await?;
        }
        // The policy is there before the pod that it is for.
        let policy = [comparer::network_policy(&self.owner, arms)].into_iter();
        let services = comparer::arm_services(&self.owner, arms).into_iter().chain(service);
        let deployment = comparer::deployment(&self.owner, arms, image);
        for document in policy.chain(services).chain(deployment) {
            let (kind, name) = (document.kind, document.name.clone());
            let result = match self.is_of_another(kind, &name) {
                true => Err(Error::NotOurs(format!("{kind} {name}"))),
                false => self.put(document).await,
            };
            tolerate(result, refused, || (kind, name, false))?;
        }
        Ok(())
    }

    /// Deletes the comparer, if there is one.
    pub(super) async fn delete_comparer(&self) -> Result<(), Error> {
        self.delete_arm_services(None).await?;
        self.delete_own(Kind::Service).await?;
        let name = comparer_name(self.owner.name);
        let live = self.ctx.stores.deployments.get(self.owner.namespace, &name);
        if let Some(live) = live.filter(|live| live.compares.is_some()) {
            self.remove(Kind::Deployment, &name, &with_pods(&live)).await?;
        }
        self.delete_own(Kind::NetworkPolicy).await
    }

    /// Takes the mirror to the comparer out of a route that outlives it.
    pub(super) async fn unmirror(&self) -> Result<(), Error> {
        let name = self.owner.name;
        for route in ROUTES {
            if !self.mirrors(route.kind) {
                continue;
            }
            let kind = Kind::Route(route.kind);
            let read = call_opt(format!("read {kind} {name}"), self.api(kind).get(name)).await?;
            let Some(mut found) = read else { continue };
            (route.unmirror)(name, &mut found.data["spec"]);
            let metadata = json!({"resourceVersion": found.resource_version()});
            let patch = Patch::Merge(json!({"metadata": metadata, "spec": found.data["spec"]}));
            let what = format!("take the mirror out of {kind} {name}");
            call_opt(what, self.api(kind).patch(name, &PatchParams::default(), &patch)).await?;
        }
        Ok(())
    }

    /// Whether the route still mirrors requests to the comparer. Its Service must be there until none does.
    fn is_mirrored(&self) -> bool {
        match self.traffic().map(|traffic| traffic.carrier()) {
            Some(Kind::Route(kind)) => self.mirrors(kind),
            _ => false,
        }
    }

    /// Whether the route of a kind, if there is one, mirrors requests to the comparer.
    fn mirrors(&self, kind: RouteKind) -> bool {
        let routes = self.ctx.stores.routes.of(kind);
        let live = routes.and_then(|routes| routes.get(self.owner.namespace, self.owner.name));
        live.is_some_and(|live| live.split.mirror != MirrorSeen::Absent)
    }

    /// Whether an object of this name is that of another model, which may be called like a comparer.
    fn is_of_another(&self, kind: Kind, name: &str) -> bool {
        let (namespace, label) = (self.owner.namespace, manifests::model_label(self.owner.name));
        let objects = self.ctx.stores.of(kind);
        let is_there = objects.is_some_and(|objects| objects.hashes(namespace, name).is_some());
        is_there && !objects.is_some_and(|objects| objects.has(namespace, &label, name))
    }

    /// Deletes the object of a kind that is called like the comparer, if this model owns one.
    async fn delete_own(&self, kind: Kind) -> Result<(), Error> {
        let name = comparer_name(self.owner.name);
        let label = manifests::model_label(self.owner.name);
        let objects = self.ctx.stores.of(kind);
        let owned = objects.map_or_else(Vec::new, |objects| objects.owned(self.owner.namespace, &label));
        if owned.iter().any(|owned| **owned == *name) {
            self.remove(kind, &name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Deletes the Services that were made for arms which the live comparer asks, and which are not among `kept`.
    async fn delete_arm_services(&self, kept: Option<&ComparedArms>) -> Result<(), Error> {
        let (namespace, name) = (self.owner.namespace, comparer_name(self.owner.name));
        let live = self.ctx.stores.deployments.get(namespace, &name);
        let asked = live.as_ref().and_then(|live| live.compares.as_deref());
        let Some(asked) = asked.map(|seen| &seen.arms).filter(|asked| Some(*asked) != kept) else {
            return Ok(());
        };
        let kept = kept.map_or_else(Vec::new, |kept| comparer::arm_services(&self.owner, kept));
        for service in comparer::arm_services(&self.owner, asked) {
            let known = self.ctx.stores.services.get(namespace, &service.name).is_some();
            if known && !kept.iter().any(|kept| kept.name == service.name) {
                self.remove(Kind::Service, &service.name, &DeleteParams::default())
                    .await?;
            }
        }
        Ok(())
    }
}
