from django.contrib import admin
from django.urls import path

from django_site import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("upload", views.upload),
    path("stored/<name>", views.stored),
    path("files", views.files),
    path("gate", views.gate),
    path("open", views.opened),
    path("session", views.session),
]
