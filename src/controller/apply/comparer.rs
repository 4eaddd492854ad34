//! The comparer beside a trial: it is made and deleted after everything else, because nothing depends on it.

use kube::api::DeleteParams;

use crate::manifests::{Kind, comparer};
use crate::model::identity::comparer_name;
use crate::rollout::{ComparedArms, Refused};

use super::super::error::Error;
use super::{Apply, tolerate, with_pods};

/// Why no comparer can be run.
const NO_IMAGE: &str = "guardbit was started without --comparer-image, so that no comparer of spec.comparer can be run: set that flag to the image of guardbit, or remove spec.comparer";

impl Apply<'_> {
    /// Applies the comparer that the plan wants, or deletes the one that it does not want.
    pub(super) async fn comparer(&self, refused: &mut Vec<Refused>) -> Result<(), Error> {
        let Some(arms) = &self.plan.comparer else {
            return self.delete_comparer().await;
        };
        let Some(image) = &self.ctx.settings.comparer_image else {
            refused.push(Refused {
                object: format!("{} {}", Kind::Deployment, comparer_name(self.owner.name)),
                is_carrier: false,
                why: NO_IMAGE.to_owned(),
            });
            return Ok(());
        };
        self.delete_arm_services(Some(arms)).await?;
        let services = comparer::arm_services(&self.owner, arms);
        for document in services
            .into_iter()
            .chain(comparer::deployment(&self.owner, arms, image))
        {
            let of = (document.kind, document.name.clone(), false);
            tolerate(self.put(document).await, refused, || of)?;
        }
        Ok(())
    }

    /// Deletes the comparer, if there is one.
    pub(super) async fn delete_comparer(&self) -> Result<(), Error> {
        self.delete_arm_services(None).await?;
        let name = comparer_name(self.owner.name);
        let live = self.ctx.stores.deployments.get(self.owner.namespace, &name);
        let Some(live) = live.filter(|live| live.compares.is_some()) else {
            return Ok(());
        };
        self.remove(Kind::Deployment, &name, &with_pods(&live)).await
    }

    /// Deletes the Services that were made for arms which the live comparer asks, and which are not among `kept`.
    async fn delete_arm_services(&self, kept: Option<&ComparedArms>) -> Result<(), Error> {
        let (namespace, name) = (self.owner.namespace, comparer_name(self.owner.name));
        let live = self.ctx.stores.deployments.get(namespace, &name);
        let asked = live.as_ref().and_then(|live| live.compares.as_deref());
        let Some(asked) = asked.filter(|asked| Some(*asked) != kept) else {
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
